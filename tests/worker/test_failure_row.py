import pytest

from kneescale.core.units import NS_PER_S
from kneescale_worker.failure_row import FailureRow

OUT_OF_MEMORY = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


def last_word(row: FailureRow, failures: int, every_s: int) -> str | None:
    word = None
    for number in range(failures):
        word = row.add(OUT_OF_MEMORY, number * every_s * NS_PER_S)
    return word


def test_a_worker_of_which_every_batch_fails_for_long_is_of_no_use() -> None:
    said = last_word(FailureRow(), 40, every_s=1)
    assert said == f"40 batches in a row failed in 39 s, the last with: {OUT_OF_MEMORY}"


@pytest.mark.parametrize(("failures", "every_s"), [(40, 0), (29, 10)], ids=["in a moment", "a few"])
def test_some_failures_are_those_of_requests(failures: int, every_s: int) -> None:
    assert last_word(FailureRow(), failures, every_s) is None


def test_one_batch_that_does_not_fail_shows_that_it_can_run_them() -> None:
    row = FailureRow()
    last_word(row, 29, every_s=2)
    row.end()
    assert last_word(row, 29, every_s=2) is None
