import pytest

from kneescale.mps import protocol
from kneescale.mps.protocol import DaemonAnswerError, ServerState


def test_lists_are_pids_one_a_line() -> None:
    assert protocol.parse_pids("") == ()
    assert protocol.parse_pids("22128\n 22140\n") == (22128, 22140)
    with pytest.raises(DaemonAnswerError, match="not 'Server 7 not found'"):
        protocol.parse_pids("Server 7 not found")


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("ACTIVE\n", ServerState.ACTIVE),
        ("FAULT", ServerState.FAULT),
        ('Unknown command "get_server_status"', ServerState.UNKNOWN),
    ],
)
def test_a_daemon_too_old_to_know_a_servers_state_is_no_error(answer: str, state: ServerState) -> None:
    assert protocol.parse_server_state(answer) is state


@pytest.mark.parametrize("answer", ["100.0", "100"])
def test_a_percentage_that_was_taken_is_echoed(answer: str) -> None:
    protocol.check_percentage(answer, 100)


@pytest.mark.parametrize("answer", ["50.0", "10", "1000", ""])
def test_a_percentage_that_was_ignored_is_noticed(answer: str) -> None:
    with pytest.raises(DaemonAnswerError, match=f"is '{answer}', not 100"):
        protocol.check_percentage(answer, 100)


def test_a_memory_limit_reads_back_in_whole_gibibytes() -> None:
    protocol.check_memory_limit("1G", 1500)
    protocol.check_memory_limit("16G\n", 16 * 1024)
    protocol.check_memory_limit("512M", 512)
    with pytest.raises(DaemonAnswerError, match="'2G', not 1G"):
        protocol.check_memory_limit("2G", 1500)


@pytest.mark.parametrize("answer", ["Partition GPU-74d4/Dx4AA+A= created", "GPU-74d4/Dx4AA+A="])
def test_a_partitions_id_is_found(answer: str) -> None:
    assert protocol.parse_partition(answer) == "GPU-74d4/Dx4AA+A="


def test_a_partition_is_given_back_by_its_id_alone_and_looked_for_in_the_list() -> None:
    assert protocol.remove_partition("GPU-74d4/Dx4AA+A=") == "sm_partition rm GPU-74d4 Dx4AA+A="
    table = "GPU        Partition  Chunks\nGPU-74d4   Dx4AA+A=   2"
    assert protocol.has_partition(table, "GPU-74d4/Dx4AA+A=")
    assert not protocol.has_partition(table, "GPU-74d4/Dx4AA+B=")


@pytest.mark.parametrize(
    "answer",
    [
        'Unknown command "sm_partition"',
        "Failed to fulfill the requested SM partition of 9 chunks, error CUDA_ERROR_INVALID_VALUE",
    ],
)
def test_no_partition_is_an_error_with_the_daemons_words(answer: str) -> None:
    with pytest.raises(DaemonAnswerError, match="no SM partition was made: ") as raised:
        protocol.parse_partition(answer)
    assert answer in str(raised.value)
