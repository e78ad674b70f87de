from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.wire import Terms
from kneescale_worker.pacing import idle_ns, lanes_at_once, pause_ns


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
