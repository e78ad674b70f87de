"""When attainment is full again after a fault, on a machine that at times has no core for who wants one."""

from collections.abc import Mapping

import pytest

from e2e.demo.figures import Outcome
from e2e.recovery import recovery

SLO_MS, RATE_RPS = 200, 20


def _outcomes(latencies_ms: Mapping[float, float | None]) -> list[Outcome]:
    """18 s of answers in time but for those that were due then; no latency where there is no answer."""
    due_s = [100 + number / RATE_RPS for number in range(18 * RATE_RPS)]
    answers = {each_s: latencies_ms.get(each_s, 20.0) for each_s in due_s}
    assert latencies_ms.keys() <= answers.keys()
    return [
        Outcome(each_s, latency_ms, correct=latency_ms is not None) for each_s, latency_ms in answers.items()
    ]


def _back_s(latency_ms: float | None, *short_s: float) -> float | None:
    """Of a fault at 100 s where four requests fared otherwise at 112 s."""
    moment = _outcomes(dict.fromkeys((112.0, 112.05, 112.1, 112.15), latency_ms))
    return recovery(moment, SLO_MS, 100, short_s).back_s


def test_a_late_moment_without_a_free_core_says_nothing_of_the_fault() -> None:
    assert _back_s(350, 111.9) == 0


def test_what_is_due_just_before_is_late_by_it_too() -> None:
    assert _back_s(350, 112.16) == 0


@pytest.mark.parametrize("short_s", [(), (110.9,), (112.5,)], ids=["unknown", "before", "after"])
def test_a_late_moment_counts_that_had_its_cores(short_s: tuple[float, ...]) -> None:
    assert _back_s(350, *short_s) == pytest.approx(12.15)


def test_what_failed_or_waited_for_long_counts_also_without_a_free_core() -> None:
    for latency_ms in (None, 1300):
        assert _back_s(latency_ms, 111.0, 112.0) == pytest.approx(12.15)


def test_where_all_that_follows_is_late_without_a_free_core_nothing_is_seen_to_be_back() -> None:
    late = _outcomes({100 + number / RATE_RPS: 350.0 for number in range(18 * RATE_RPS)})
    assert recovery(late, SLO_MS, 100, [100.0 + second for second in range(18)]).back_s is None
