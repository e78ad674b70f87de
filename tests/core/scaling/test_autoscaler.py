"""What is provided for: up at once, down after a while, held without news, never in circles."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.scaling.arrivals import ArrivalMeter, Traffic
from kneescale.core.scaling.autoscaler import (
    PEAK_S,
    QUICK_STABILISATION_S,
    STABILISATION_S,
    TURN_S,
    Decision,
    Reason,
    ScalingState,
    Tail,
    decide,
    forecast_ips,
)
from kneescale.core.units import NS_PER_S
from kneescale.sim.arrivals import bursty

LATE_AND_BUSY = Tail(ratio=1.5, is_late=True, busy_permille=950)
LATE_AND_IDLE = Tail(ratio=1.5, is_late=True, busy_permille=300)
CALM = Tail(ratio=0.4, is_late=False, busy_permille=300)
STEP_S = 2.0


def steady(rate_ips: float) -> Traffic:
    return Traffic(rate_ips, rate_ips, 30.0, 0.0, 1.0, slow_dispersion=1.0)


def after(state: ScalingState, rates: list[float], tail: Tail = CALM, since_s: float = 0.0) -> list[Decision]:
    """The decisions on a rate every two seconds."""
    decisions = []
    for number, rate_ips in enumerate(rates):
        decision = decide(state, steady(rate_ips), tail, now_s=since_s + number * STEP_S)
        decisions.append(decision)
        state = decision.state
    return decisions


def provided(decisions: list[Decision]) -> list[float]:
    return [decision.state.provided_ips or 0.0 for decision in decisions]


def test_nothing_is_provided_for_before_anything_arrives() -> None:
    decision = decide(ScalingState(), steady(0), None, now_s=0)
    assert decision.state.provided_ips is None
    assert decision.reason is Reason.STEADY


def test_more_traffic_is_followed_at_once() -> None:
    first, second = after(ScalingState(), [10, 40])
    assert 10 <= provided([first])[0] <= 11.1
    assert 40 <= provided([second])[0] <= 44.4
    assert second.reason is Reason.RATE_ROSE


def test_a_surge_is_followed_before_the_steady_rate_shows_it() -> None:
    surge = Traffic(recent_ips=40, steady_ips=15, steady_s=30, dispersion=1.0)
    chance = Traffic(recent_ips=18, steady_ips=15, steady_s=30, dispersion=1.0)
    # One standard deviation of 40 a second over 5 s is what may be luck.
    assert decide(ScalingState(), surge, None, now_s=0).demand_ips == pytest.approx(40 - 2.83, abs=0.01)
    assert decide(ScalingState(), chance, None, now_s=0).demand_ips == 15


def test_the_same_surge_of_large_requests_is_chance() -> None:
    coarse = Traffic(recent_ips=40, steady_ips=15, steady_s=30, dispersion=64.0)
    assert decide(ScalingState(), coarse, None, now_s=0).demand_ips == 15


def test_of_a_rate_that_rises_the_recent_one_counts() -> None:
    rising = Traffic(recent_ips=112.5, steady_ips=100, steady_s=30, trend_ips2=1.0, dispersion=1.0)
    # But for what may be luck in it.
    assert forecast_ips(rising) == pytest.approx(112.5 - 4.74, abs=0.01)
    # Chance makes a slope of sqrt(12 * 112.5 / 30) / 30 = 0.22.
    assert forecast_ips(replace(rising, trend_ips2=0.7)) == 100


def test_of_a_rate_that_falls_the_recent_one_counts() -> None:
    # From 160 to 40 a second 26 s ago: what is left of before makes half a minute's rate too high.
    falling = Traffic(recent_ips=40, steady_ips=56, steady_s=30, trend_ips2=-1.7, dispersion=4.0)
    assert forecast_ips(falling) == 40
    assert forecast_ips(replace(falling, trend_ips2=-0.1)) == 56


def test_a_step_is_no_ramp_that_goes_on() -> None:
    # From 40 to 160, 12 s ago: the line through that is at 160 of late, too, and would be at 232 soon.
    step = Traffic(recent_ips=160, steady_ips=88, steady_s=30, trend_ips2=5.76, dispersion=1.0)
    assert forecast_ips(step) == pytest.approx(160 - 5.66, abs=0.01)


def test_less_is_followed_after_a_whole_window_of_it() -> None:
    decisions = after(ScalingState(), [100.0] + [80.0] * int(2 * STABILISATION_S / STEP_S))
    fell = next(i for i, each in enumerate(decisions) if each.reason is Reason.RATE_FELL)
    assert TURN_S <= fell * STEP_S <= TURN_S + STEP_S
    # Two standard deviations of 80 a second over 30 s, and a step.
    assert 80 <= provided(decisions)[-1] <= 1.03 * (80 + 2 * 1.63)


def test_much_less_is_followed_soon() -> None:
    high = [100.0] * int(TURN_S / STEP_S)
    decisions = after(ScalingState(), high + [20.0] * int(2 * STABILISATION_S / STEP_S))
    fell = next(i for i, each in enumerate(decisions) if each.reason is Reason.RATE_FELL)
    took_s = (fell - len(high) + 1) * STEP_S
    assert QUICK_STABILISATION_S - STEP_S <= took_s <= QUICK_STABILISATION_S + PEAK_S + STEP_S
    # Five standard deviations of 20 a second over 10 s.
    assert provided(decisions)[fell] == pytest.approx(20 + 5 * 1.41, rel=0.03)
    assert provided(decisions)[-1] < provided(decisions)[fell]


def test_nothing_falls_within_a_minute_of_the_first_rise() -> None:
    decisions = after(ScalingState(), [40.0, 100.0, 110.0] + [20.0] * int(2 * TURN_S / STEP_S))
    fell = next(i for i, each in enumerate(decisions) if each.reason is Reason.RATE_FELL)
    assert fell * STEP_S == TURN_S
    rose = after(decisions[fell].state, [20.0, 60.0], since_s=fell * STEP_S)[-1]
    assert rose.reason is Reason.RATE_ROSE, "what is needed is not put off"
    assert rose.state.rose_s == fell * STEP_S + STEP_S


def test_a_little_more_waits_within_a_minute_of_a_fall() -> None:
    decisions = after(ScalingState(), [100.0] + [80.0] * int(2 * STABILISATION_S / STEP_S))
    number = next(i for i, each in enumerate(decisions) if each.reason is Reason.RATE_FELL)
    fallen, fell_s = decisions[number].state, number * STEP_S
    (little,) = after(fallen, [92.0], since_s=fell_s + STEP_S)
    assert little.reason is Reason.STEADY
    (much,) = after(fallen, [100.0], since_s=fell_s + STEP_S)
    assert much.reason is Reason.RATE_ROSE
    (later,) = after(fallen, [92.0], since_s=fell_s + TURN_S)
    assert later.reason is Reason.RATE_ROSE


def test_much_less_is_not_believed_sooner_while_little_is_known_of_bursts() -> None:
    state = after(ScalingState(), [100.0] * int(TURN_S / STEP_S))[-1].state
    new = replace(steady(20), slow_dispersion=0.0)
    for now_s in range(int(TURN_S) + 2, int(TURN_S + STABILISATION_S), 2):
        decision = decide(state, new, CALM, now_s=now_s)
        state = decision.state
    assert decision.reason is Reason.STEADY


def test_silence_is_not_believed_sooner_for_it_may_be_a_worker_that_hangs() -> None:
    state = after(ScalingState(), [100.0] * int(TURN_S / STEP_S + 1))[-1].state
    silence = Traffic(0.0, 60.0, 30.0, 0.0, 1.0, slow_dispersion=1.0)
    for now_s in range(int(TURN_S) + 2, int(TURN_S + STABILISATION_S), 2):
        decision = decide(state, silence, CALM, now_s=now_s)
        state = decision.state
        assert decision.reason is Reason.STEADY


def test_bursts_of_seconds_are_no_surge_and_their_end_is_followed_late() -> None:
    calm = Traffic(100, 100, 30.0, 0.0, 6.0, slow_dispersion=16.0)
    # By 4.5 standard deviations, which single items would not come to by chance.
    burst = replace(calm, recent_ips=220, trend_ips2=5.0)
    assert forecast_ips(burst) == 100
    state = decide(ScalingState(), replace(calm, recent_ips=300), CALM, now_s=0).state
    assert (state.provided_ips or 0) >= 300 - 31
    for now_s in range(2, int(STABILISATION_S), 2):
        decision = decide(state, calm, CALM, now_s=now_s)
        state = decision.state
        assert decision.reason is Reason.STEADY


def test_it_falls_to_what_chance_will_ask_for_again() -> None:
    high, low = steady(30), Traffic(20, 20, 30.0, 0.0, 4.0)
    state = decide(ScalingState(), high, CALM, now_s=0).state
    for now_s in range(2, 200, 2):
        state = decide(state, low, CALM, now_s=now_s).state
    # One standard deviation of 20 a second over 30 s is sqrt(4 * 20 / 30).
    assert 20 + 2 * 1.63 <= (state.provided_ips or 0) <= 1.03 * (20 + 2 * 1.64)


def test_while_nothing_changes_the_rate_of_two_minutes_counts() -> None:
    # By chance, rates of 30 s and of 120 s differ by sqrt(100 (1/30 - 1/120)) = 1.6 a second.
    chance = Traffic(103, 103, 30.0, 0.0, 1.0, slow_dispersion=1.0, long_ips=100, long_s=120.0)
    assert forecast_ips(chance) == 100
    assert forecast_ips(replace(chance, steady_ips=106)) == 106
    assert forecast_ips(replace(chance, steady_ips=94)) == 94
    assert forecast_ips(replace(chance, steady_ips=106, slow_dispersion=4.0)) == 100


@pytest.mark.parametrize("seed", range(8))
def test_bursts_about_a_steady_mean_are_provided_for_like_that_mean(seed: int) -> None:
    meter, state, duration_s = ArrivalMeter(0), ScalingState(provided_ips=120.0), 600
    provided_ips = []
    times_ns = iter(bursty(120, duration_s, np.random.default_rng(seed)).tolist())
    next_ns = next(times_ns)
    for now_s in range(2, duration_s, 2):
        while next_ns < now_s * NS_PER_S:
            meter.add(1, next_ns)
            next_ns = next(times_ns, duration_s * NS_PER_S)
        state = decide(state, meter.traffic(now_s * NS_PER_S), CALM, now_s=now_s).state
        provided_ips.append(state.provided_ips or 0.0)
    assert np.mean(provided_ips) < 1.25 * 120


def test_without_metrics_everything_is_held() -> None:
    state = after(ScalingState(), [100.0])[-1].state
    decision = decide(state, None, CALM, now_s=1000.0)
    assert decision == Decision(state, Reason.NO_METRICS)


def test_what_was_remembered_by_a_clock_that_was_ahead_holds_nothing_up() -> None:
    state = after(ScalingState(), [50.0] * 30 + [100.0], LATE_AND_BUSY, since_s=3 * 3600)[-1].state
    decisions = after(state, [20.0] * int((TURN_S + QUICK_STABILISATION_S) / STEP_S))
    fell = next(i for i, each in enumerate(decisions) if each.reason is Reason.RATE_FELL)
    assert fell * STEP_S <= TURN_S
    assert decisions[0].state.changed_s == decisions[0].state.rose_s == 0


def test_late_requests_on_a_busy_gpu_raise_what_is_provided_for_up_to_twice() -> None:
    decisions = after(ScalingState(), [100.0] * 60, LATE_AND_BUSY)
    assert provided(decisions)[-1] >= 2 * 100
    assert provided(decisions)[-1] <= 2 * 100 * 1.1
    assert Reason.TAIL_LATE in {each.reason for each in decisions}
    calm = after(decisions[-1].state, [100.0] * 120, CALM, since_s=120.0)
    assert provided(calm)[-1] <= 100 * 1.1**2


def test_late_requests_on_an_idle_gpu_do_not() -> None:
    decisions = after(ScalingState(), [100.0] * 60, LATE_AND_IDLE)
    assert set(provided(decisions)[1:]) == {provided(decisions)[0]}


def test_what_is_expected_is_always_provided_for() -> None:
    decision = decide(ScalingState(), steady(3), None, now_s=0, least_ips=50)
    assert decision.state.provided_ips == 50


@given(st.lists(st.floats(0.5, 500), min_size=1, max_size=120), st.floats(1, 2))
def test_what_was_needed_of_late_is_provided_for(rates: list[float], factor: float) -> None:
    state = ScalingState()
    for number, rate_ips in enumerate(rates):
        now_s = number * STEP_S
        state = decide(state, steady(rate_ips), None, now_s=now_s, factor=factor).state
        last = rates[: number + 1]
        of_late = [rate for i, rate in enumerate(last) if now_s - i * STEP_S < QUICK_STABILISATION_S]
        assert (state.provided_ips or 0) >= max(of_late) * factor * (1 - 1e-9)


@given(st.lists(st.floats(0, 500), min_size=1, max_size=200))
def test_it_never_falls_within_a_minute_of_where_it_began_to_rise(rates: list[float]) -> None:
    rose_s = None
    for number, decision in enumerate(after(ScalingState(), rates)):
        now_s = number * STEP_S
        if decision.reason is Reason.RATE_FELL and rose_s is not None:
            assert now_s - rose_s >= TURN_S
            rose_s = None
        if decision.reason is Reason.RATE_ROSE and rose_s is None:
            rose_s = now_s


@given(st.floats(1, 1000), st.floats(0.99, 1.01))
def test_a_rate_that_hardly_changes_changes_nothing(rate_ips: float, ratio: float) -> None:
    state = after(ScalingState(), [1.05 * rate_ips] * 2)[-1].state
    decision = decide(state, steady(1.02 * rate_ips * ratio), CALM, now_s=500.0)
    assert decision.reason is Reason.STEADY
