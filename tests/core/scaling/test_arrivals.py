"""Rates, trends and bursts as they are told from counts."""

import numpy as np
import pytest

from kneescale.core.scaling.arrivals import BIN_NS, ArrivalMeter, Traffic, together
from kneescale.core.units import NS_PER_S
from kneescale.sim.arrivals import Times, bursty, poisson

SEED = 7


def metered(times_ns: Times, now_s: float, items: int = 1) -> Traffic:
    meter = ArrivalMeter(0)
    for at_ns in times_ns:
        if at_ns < now_s * NS_PER_S:
            meter.add(items, int(at_ns))
    traffic = meter.traffic(round(now_s * NS_PER_S))
    assert traffic is not None
    return traffic


def test_nothing_is_said_before_enough_is_known() -> None:
    meter = ArrivalMeter(0)
    meter.add(5, BIN_NS // 2)
    assert meter.traffic(4 * BIN_NS - 1) is None
    assert meter.traffic(4 * BIN_NS) is not None


def test_a_steady_rate_is_the_same_however_long_it_is_looked_at() -> None:
    times = np.arange(0, 40 * NS_PER_S, NS_PER_S // 10)
    traffic = metered(times, 40)
    assert traffic.recent_ips == traffic.steady_ips == traffic.long_ips == 10.0
    assert (traffic.steady_s, traffic.long_s) == (30.0, 40.0)
    assert traffic.trend_ips2 == 0.0


def test_a_step_shows_in_the_recent_rate_and_not_as_burstiness() -> None:
    rng = np.random.default_rng(SEED)
    before, after = poisson(20, 30, rng), poisson(80, 5, rng) + 30 * NS_PER_S
    traffic = metered(np.concatenate([before, after]), 35)
    assert traffic.recent_ips == pytest.approx(80, rel=0.2)
    assert traffic.steady_ips == pytest.approx((25 * 20 + 5 * 80) / 30, rel=0.2)
    assert traffic.long_ips == pytest.approx((30 * 20 + 5 * 80) / 35, rel=0.2)
    assert traffic.dispersion < 2


def test_a_step_does_not_show_as_burstiness_for_as_long_as_bursts_are_remembered() -> None:
    rng = np.random.default_rng(SEED)
    before, after = poisson(60, 60, rng), poisson(240, 60, rng) + 60 * NS_PER_S
    assert metered(np.concatenate([before, after]), 120).dispersion < 1.2


def test_a_ramp_shows_in_the_trend() -> None:
    # 10/s at first, 2/s more each second: the n-th item comes when n = 10 t + t^2.
    numbers = np.arange(2000)
    times = ((np.sqrt(100 + 4 * numbers) - 10) / 2 * NS_PER_S).astype(np.int64)
    traffic = metered(times, 30)
    assert traffic.trend_ips2 == pytest.approx(2.0, rel=0.02)


def test_silence_counts_as_nothing_having_come() -> None:
    meter = ArrivalMeter(0)
    for at_ns in range(0, 10 * NS_PER_S, NS_PER_S // 4):
        meter.add(1, at_ns)
    traffic = meter.traffic(100 * NS_PER_S)
    assert traffic == Traffic(0.0, 0.0, 30.0, 0.0, 1.0, slow_dispersion=1.0, long_ips=0.4, long_s=100.0)


def test_large_requests_and_bursts_are_told_from_single_items_at_random() -> None:
    rng = np.random.default_rng(SEED)
    single = poisson(100, 30, rng)
    assert metered(single, 30).dispersion == pytest.approx(1.0, abs=0.5)
    assert metered(poisson(10, 30, rng), 30, items=32).dispersion == pytest.approx(32, rel=0.6)
    assert metered(bursty(100, 30, rng), 30).dispersion > 3


def test_bursts_of_seconds_show_in_counts_of_five_seconds() -> None:
    seen = [metered(bursty(120, 120, np.random.default_rng(seed)), 120) for seed in range(20)]
    # Of its 32 over long times, counts of five seconds show 30.
    assert np.mean([traffic.slow_dispersion for traffic in seen]) == pytest.approx(30, rel=0.2)
    assert sum(traffic.slow_dispersion > 1.5 * traffic.dispersion for traffic in seen) >= 18


@pytest.mark.parametrize("age_s", [60, 120])
def test_a_step_or_a_peak_does_not_show_in_counts_of_five_seconds(age_s: int) -> None:
    rng = np.random.default_rng(SEED)
    calm, peak = poisson(60, age_s, rng), poisson(180, 20, rng) + 40 * NS_PER_S
    assert metered(np.sort(np.concatenate([calm, peak])), age_s).slow_dispersion < 3


def test_of_slow_bursts_nothing_is_said_before_a_minute() -> None:
    times = poisson(100, 60, np.random.default_rng(SEED))
    assert metered(times, 59.5).slow_dispersion == 0
    assert metered(times, 60).slow_dispersion >= 1


def test_workers_of_one_model_are_one_traffic() -> None:
    whole = together([Traffic(10, 20, 30, 0.5, 1.0), Traffic(30, 60, 30, 0.25, 5.0)])
    assert whole == Traffic(40, 80, 30, 0.75, 4.0)
    old, new = Traffic(10, 20, 30, long_ips=30, long_s=120), Traffic(20, 20, 30, long_ips=20, long_s=60)
    assert (together([old, new]).long_ips, together([old, new]).long_s) == (30 + 20 / 2, 120)
    assert together([]) == Traffic()


def test_a_worker_that_knows_too_little_of_bursts_does_not_make_them_smaller() -> None:
    known, new = Traffic(10, 20, 30, 0, 5.0, slow_dispersion=8.0), Traffic(10, 20, 30, 0, 5.0)
    assert together([known, new]).slow_dispersion == 8.0


@pytest.mark.parametrize("age_s", [2, 4, 12, 26])
def test_a_new_worker_takes_its_part_and_adds_nothing(age_s: int) -> None:
    times = poisson(200, 30, np.random.default_rng(SEED))
    split_ns = (30 - age_s) * NS_PER_S
    is_moved = (times >= split_ns) & (np.arange(len(times)) % 2 == 0)
    moved = metered(times[is_moved] - split_ns, age_s)
    whole, seen = metered(times, 30), together([metered(times[~is_moved], 30), moved])
    assert seen.recent_ips == pytest.approx(whole.recent_ips)
    assert seen.steady_ips == pytest.approx(whole.steady_ips)
    assert seen.trend_ips2 == pytest.approx(whole.trend_ips2, abs=0.02)
    assert seen.steady_s == whole.steady_s
    assert seen.long_ips == pytest.approx(whole.long_ips)
    assert seen.long_s == whole.long_s
