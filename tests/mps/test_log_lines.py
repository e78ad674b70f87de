import pytest

from kneescale.mps.log_lines import Loss, ServerFailed, is_about_a_question, parse_line


@pytest.mark.parametrize(
    "line",
    [
        "[2024-12-10 06:38:01.158 Control    64] Server encountered a fatal exception. Shutting down",
        "[2026-11-26 06:47:53.096 Server  2518] Client {PID: 2829, Context: 1} encountered a fatal GPU "
        "error.",
        "[2026-11-26 06:47:53.096 Server  2518] Server is handling a fatal GPU error.",
    ],
)
def test_a_fault_is_a_loss(line: str) -> None:
    assert parse_line(line) == Loss(line)


def test_a_server_that_failed_is_named() -> None:
    line = "[2026-11-25 23:19:49.461 Control 22040] Server 22128 exited with status 1"
    assert parse_line(line) == ServerFailed(22128, line)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no line of a log",
        "[2026-11-25 23:19:49.458 Control 22040] Starting new server 22128 for user 0",
        "[2026-11-25 23:19:49.458 Control 22040] Server 22128 exited with status 0",
        "[2026-04-28 18:20:41.986 Server  4428] Client {PID: 4267, Context ID: 0} connected",
        "[2026-04-28 18:20:41.986 Server 4428] Created anonymous shared memory region mps.shm.1000.4428",
        "[2026-11-26 06:47:52.823 Control  2453] User did not send valid credentials",
        "[2026-11-26 06:47:52.854 Server  2518] Status of client {PID: 2909, Context ID: 1} is ACTIVE",
        "[2026-11-26 06:47:53.096 Server  2518] The following client process have a sticky error set:",
        "[2026-11-26 06:47:53.383 Server  2518] Server failed to recevie command with status 806, assuming "
        "client {PID: 2909, Context ID: 1} exit",
        "[2026-11-25 23:19:49.358 Control 22040] Invalid percentage, expected between (0.0, 100.0]",
    ],
)
def test_any_other_line_is_none(line: str) -> None:
    assert parse_line(line) is None


@pytest.mark.parametrize(("text", "is_question"), [("Cmd:get_server_list", True), ("Terminated", False)])
def test_a_line_about_a_question_is_known(text: str, is_question: bool) -> None:
    assert is_about_a_question(f"[2026-11-25 23:19:49.458 Control 22040] {text}") == is_question
