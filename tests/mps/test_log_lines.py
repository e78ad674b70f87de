import pytest

from kneescale.mps.log_lines import Loss, parse_line


@pytest.mark.parametrize(
    "line",
    [
        "[2026-11-25 23:19:49.461 Control 22040] Server 22128 exited with status 1",
        "[2024-12-10 06:38:01.158 Control    64] Server encountered a fatal exception. Shutting down",
    ],
)
def test_a_dead_server_is_a_loss_without_a_culprit(line: str) -> None:
    assert parse_line(line) == Loss(line)


@pytest.mark.parametrize("client", ["{PID: 4267, Context ID: 0}", "{4267, 0}"])
def test_a_client_that_a_line_of_a_fault_names_is_the_culprit(client: str) -> None:
    line = f"[2026-04-28 18:20:41.986 Server  4428] Client {client} caused a fatal GPU error"
    assert parse_line(line) == Loss(line, 4267)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no line of a log",
        "[2026-11-25 23:19:49.458 Control 22040] Starting new server 22128 for user 0",
        "[2026-11-25 23:19:49.458 Control 22040] Server 22128 exited with status 0",
        "[2026-04-28 18:20:41.986 Server  4428] Client {PID: 4267, Context ID: 0} connected",
        "[2026-04-28 18:20:41.986 Server 4428] Created anonymous shared memory region mps.shm.1000.4428",
        "[2026-11-25 23:19:49.358 Control 22040] Invalid percentage, expected between (0.0, 100.0]",
    ],
)
def test_any_other_line_is_none(line: str) -> None:
    assert parse_line(line) is None
