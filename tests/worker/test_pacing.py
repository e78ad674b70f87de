from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.wire import Terms
from kneescale_worker.pacing import LONGEST_LEAD_NS, Lead, idle_ns, lanes_at_once, patience_ns, pause_ns


@given(st.integers(1, 10**10), st.integers(1, 1000))
def test_the_busy_share_is_the_share(busy_ns: int, share_permille: int) -> None:
    total_ns = busy_ns + idle_ns(busy_ns, share_permille)
    assert abs(1000 * busy_ns - share_permille * total_ns) <= share_permille


@given(st.integers(0, 10**10))
def test_no_share_is_a_small_one_and_a_full_one_is_never_idle(busy_ns: int) -> None:
    assert idle_ns(busy_ns, 0) == idle_ns(busy_ns, 1) == 999 * busy_ns
    assert idle_ns(busy_ns, 1000) == idle_ns(busy_ns, 2000) == 0


def _terms(share_permille: int, slo_ns: int) -> Terms:
    return Terms(slo_ns=slo_ns, batch=1, gpu_percent=10, share_permille=share_permille)


@given(st.integers(10**6, 10**10), st.integers(1, 0xFFFF))
def test_lanes_together_are_busy_for_the_share(busy_ns: int, share_permille: int) -> None:
    lanes = lanes_at_once(share_permille)
    total_ns = busy_ns + pause_ns(busy_ns, _terms(share_permille, 4 * 1000 * 10**10))
    assert lanes * busy_ns * 1000 <= (share_permille + lanes) * total_ns
    assert lanes * busy_ns * 1000 >= (share_permille - 2 * lanes) * total_ns


@given(st.integers(1, 10**10), st.integers(0, 1000), st.integers(0, 10**10))
def test_a_pause_is_never_longer_than_a_quarter_of_the_slo(
    busy_ns: int, share_permille: int, slo_ns: int
) -> None:
    assert 4 * pause_ns(busy_ns, _terms(share_permille, slo_ns)) <= slo_ns


@given(st.integers(1, 10**10), st.integers(1, 1000))
def test_where_the_slo_is_long_a_pause_is_by_the_share(busy_ns: int, share_permille: int) -> None:
    long_ns = 4 * 1000 * 10**10
    assert pause_ns(busy_ns, _terms(share_permille, long_ns)) == idle_ns(busy_ns, share_permille)


def test_nobody_is_kept_waiting_by_pauses_for_more_than_a_quarter_of_the_slo() -> None:
    left_ns = [patience_ns(arrived_ns, 400, now_ns=1_000) for arrived_ns in (1_000, 950, 900, 0)]
    assert left_ns == [100, 50, 0, 0]


@given(st.integers(1, 4000), st.lists(st.tuples(st.integers(1, 10**9), st.integers(0, 10**9)), min_size=1))
def test_a_worker_that_pauses_once_it_is_too_far_ahead_keeps_to_its_share_over_time(
    share_permille: int, runs: list[tuple[int, int]]
) -> None:
    lead, busy_ns, now_ns, longest_ns = Lead(), 0, 0, max(ran_ns for ran_ns, _ in runs)
    for ran_ns, idle_anyway_ns in runs:
        now_ns += ran_ns
        busy_ns += ran_ns
        lead.ran(ran_ns, share_permille, now_ns)
        if lead.is_too_long(share_permille):
            now_ns += idle_ns(ran_ns, share_permille)
        now_ns += idle_anyway_ns
        assert 1000 * busy_ns <= share_permille * (now_ns + LONGEST_LEAD_NS) + 1000 * (longest_ns + len(runs))


def test_a_lead_is_paid_back_by_idle_time() -> None:
    lead = Lead()
    lead.ran(LONGEST_LEAD_NS, 500, LONGEST_LEAD_NS)
    assert lead.is_too_long(500)
    lead.ran(1, 500, 3 * LONGEST_LEAD_NS)
    assert not lead.is_too_long(500)
