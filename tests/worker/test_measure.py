from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.units import NS_PER_MS, NS_PER_S
from kneescale.core.wire import Measured
from kneescale_worker.measure import WINDOW_NS, Window

_SLO_NS = 50 * NS_PER_MS


def test_an_empty_window_is_all_zeros() -> None:
    measured = Window(0).measure(_SLO_NS, now_ns=2 * NS_PER_S)
    assert measured == Measured(2000, 0, 0, 0, 0, 0, 0)


def test_late_and_failed_requests_count_against_attainment() -> None:
    window = Window(0)
    for latency_ms in (10, 20, 50, 51):
        window.answered(latency_ms * NS_PER_MS, now_ns=NS_PER_S)
    window.failed(now_ns=NS_PER_S)
    measured = window.measure(_SLO_NS, now_ns=NS_PER_S)
    assert (measured.requests, measured.answered, measured.within_slo, measured.failed) == (5, 4, 3, 1)
    assert measured.p50_us == 35_000


def test_requests_are_let_go_as_others_end_also_where_nobody_asks_for_the_figures() -> None:
    window = Window(0)
    for ended_s in range(0, 100, 20):
        window.answered(NS_PER_MS, ended_s * NS_PER_S)
        window.failed(ended_s * NS_PER_S)
    # As of a time at which nothing has left the window yet.
    assert window.measure(_SLO_NS, now_ns=0).requests == 4


@given(st.lists(st.tuples(st.integers(0, 90), st.none() | st.integers(1, 10**9))))
def test_only_the_last_half_minute_counts(ended: list[tuple[int, int | None]]) -> None:
    window = Window(0)
    ended.sort(key=lambda entry: entry[0])
    for at_s, latency_ns in ended:
        if latency_ns is None:
            window.failed(at_s * NS_PER_S)
        else:
            window.answered(latency_ns, at_s * NS_PER_S)
    measured = window.measure(_SLO_NS, now_ns=90 * NS_PER_S)
    recent = [latency for at_s, latency in ended if at_s * NS_PER_S >= 90 * NS_PER_S - WINDOW_NS]
    assert measured.window_ms == 30_000
    assert measured.requests == len(recent) == measured.answered + measured.failed
    assert measured.failed == recent.count(None)
    assert measured.within_slo <= measured.answered
    assert measured.p50_us <= measured.p99_us
