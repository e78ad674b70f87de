import pytest

from kneescale.core.dispatching.arrival_rate import SURE_GAPS, ArrivalRate

GAP_NS = 10_000


def rate_of(*gaps_ns: int) -> ArrivalRate:
    rate, now_ns = ArrivalRate(), GAP_NS
    rate.arrived(1, now_ns)
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        rate.arrived(1, now_ns)
    return rate


def test_one_arrival_is_no_rate() -> None:
    rate = rate_of()
    assert not rate.is_known
    assert rate.promised_items(GAP_NS, 10**9) == 0


def test_what_a_rate_promises_fades_while_nothing_comes() -> None:
    rate = rate_of(GAP_NS, GAP_NS, GAP_NS)
    last_ns = 4 * GAP_NS
    assert rate.promised_items(last_ns, 5 * GAP_NS) == pytest.approx(5)
    assert rate.promised_items(last_ns + 10 * GAP_NS, 5 * GAP_NS) == pytest.approx(0.5)


def test_items_that_come_at_once_share_their_gap() -> None:
    rate = ArrivalRate()
    rate.arrived(1, GAP_NS)
    rate.arrived(4, 5 * GAP_NS)
    assert rate.gap_ns == GAP_NS


def test_a_rate_is_of_items_however_many_come_at_once() -> None:
    rate = ArrivalRate()
    for number in range(1, 200):
        rate.arrived(1 if number % 2 else 8, 9 * GAP_NS * number)
    # Nine items in the time of two arrivals.
    assert rate.gap_ns == pytest.approx(2 * GAP_NS, rel=0.2)


def test_even_arrivals_are_counted_on() -> None:
    rate = rate_of(*[GAP_NS] * 20)
    assert rate.last_start_ns(2, 25 * GAP_NS) == pytest.approx(23 * GAP_NS)


def test_uneven_arrivals_are_counted_on_later() -> None:
    even, uneven = rate_of(*[GAP_NS] * 40), rate_of(*[GAP_NS // 2, 3 * GAP_NS // 2] * 20)
    assert uneven.gap_ns == pytest.approx(even.gap_ns, rel=0.05)
    start_ns = 45 * GAP_NS
    assert even.last_start_ns(2, start_ns) - uneven.last_start_ns(2, start_ns) == pytest.approx(
        GAP_NS, rel=0.1
    )


def test_who_is_silent_for_long_is_not_waited_for() -> None:
    rate = rate_of(*[GAP_NS] * 20)
    last_ns, start_ns = 21 * GAP_NS, 1000 * GAP_NS
    until_ns = rate.last_start_ns(1, start_ns)
    silent_ns = until_ns - last_ns
    assert silent_ns > SURE_GAPS * GAP_NS
    # So long a silence says that one more takes a fifth of it: no time is left for that.
    assert silent_ns / SURE_GAPS == pytest.approx(start_ns - until_ns, rel=0.01)


def test_what_came_before_the_last_arrivals_says_nothing() -> None:
    """A queue is told again where a worker connects anew; and a mad one may say any time."""
    rate = rate_of(GAP_NS)
    for earlier_ns in (GAP_NS, 1, 0):
        rate.arrived(1000, earlier_ns)
    assert (rate.gap_ns, rate.deviation_ns) == (GAP_NS, 0)
    rate.arrived(1, 3 * GAP_NS)
    assert rate.gap_ns == GAP_NS
