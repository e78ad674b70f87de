"""How much traffic a model is provided for, by what was measured. Pure: state in, decision out.

A surge is followed at once, as far as it stands out of the noise; what is provided for falls when less was
enough for three quarters of a minute, or for ten seconds so much less that it is no chance. Requests that are
late although the GPU was at its limit show that more is needed than the figures say, and raise it; late
requests on a GPU with time to spare do not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil, log, sqrt

from kneescale.core.scaling.arrivals import RECENT_S, Traffic

#: The most of what was needed in this time is provided for...
STABILISATION_S = 45.0
#: ...or in this time, where that is so many standard deviations less than what is provided for.
QUICK_STABILISATION_S = 10.0
_NO_CHANCE = 8.0
#: It does not fall sooner than this after it began to rise: one change of direction a minute.
TURN_S = 60.0
#: Nor does it rise by up to this factor so soon after it fell: a GPU that is planned to its limit has as much
#: to spare.
_SPARED = 1.15
#: Needs are remembered as the most of each so many seconds.
PEAK_S = 10.0
#: A plan for less than this is none: even an idle model keeps what one item a second takes.
LEAST_IPS = 1.0
#: What is provided for goes up in steps of this factor, and down only past four of them.
_STEP = 1.03
_FALL = 1 / _STEP**4
#: A rate that is so many standard deviations off the steady one is a surge, and not chance: it is looked for
#: every other second.
_SURGE = 4.0
#: The largest of the rates that a surge is seen by is above the true one by about so many.
_LUCK = 1.0
#: Counts of five seconds tell of slower bursts where their dispersion is so much above that of half seconds:
#: it is known from few counts, to about a third.
_SLOWER = 1.5
#: Such counts are skewed: they are so many times as far above their mean by chance as others.
_SKEW = 1.5
#: So many standard deviations between the rates of half a minute and of two are a change of the rate.
_CHANGE = 3.0
#: A slope of so many standard deviations is a trend.
_TREND = 3.5
#: Too many requests miss the SLO where they are so many standard deviations more than may.
_SIGNIFICANT = 2.0
#: What is provided for falls to so many standard deviations above what was needed, and after a short time to
#: more: by chance, that would soon be needed again, and the direction change twice a minute.
_SPARE, _QUICK_SPARE = 2.0, 5.0
#: Late requests on a busy GPU raise what is provided for by this factor at a time, to at most so much.
_BOOST_STEP = 1.2
_MOST_BOOST = 2.0
#: What was changed shows in the measurements after so long.
_SETTLES_S = 15.0
#: From this use of a GPU's area on late requests are for lack of GPU.
BUSY_PERMILLE = 800
#: The part of the SLO that the tail may take before a boost is taken back.
_CALM_TAIL = 0.8


class Reason(StrEnum):
    """Why as much is provided for as is."""

    #: Nothing changed that calls for a change.
    STEADY = "Steady"
    #: More arrives.
    RATE_ROSE = "RateRose"
    #: For a stabilisation window, the long or the short one, less was enough.
    RATE_FELL = "RateFell"
    #: Requests are late on a busy GPU.
    TAIL_LATE = "TailLate"
    #: Nobody measured anything of late: all stays as it is.
    NO_METRICS = "NoMetrics"


@dataclass(frozen=True, slots=True)
class Peak:
    """The most items per second that traffic needed in the PEAK_S from `since_s` on."""

    since_s: float
    needed_ips: float


@dataclass(frozen=True, slots=True)
class ScalingState:
    """What is remembered from one decision to the next; times are in seconds of any one clock.

    `provided_ips` is the items per second that the plan is to carry, None before anything arrived; `boost`
    the factor that late requests have raised it by; `changed_s` when either last changed.
    """

    provided_ips: float | None = None
    boost: float = 1.0
    changed_s: float = 0.0
    peaks: tuple[Peak, ...] = ()
    #: When it first rose after it last fell; None where nothing is known of a rise since.
    rose_s: float | None = None

    def until(self, now_s: float) -> "ScalingState":
        """The same without times to come, which a clock that was ahead has left."""
        return replace(
            self,
            changed_s=min(self.changed_s, now_s),
            peaks=tuple(replace(peak, since_s=min(peak.since_s, now_s)) for peak in self.peaks),
            rose_s=None if self.rose_s is None else min(self.rose_s, now_s),
        )


@dataclass(frozen=True, slots=True)
class Tail:
    """How a model's slowest requests fared: p99 over the SLO, and whether too few were in time.

    `busy_permille` is the use of the fullest GPU that it is on.
    """

    ratio: float
    is_late: bool
    busy_permille: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What to provide for from now on, and why; `demand_ips` is what arrives, as far as can be told."""

    state: ScalingState
    reason: Reason
    demand_ips: float | None = None


def decide(
    state: ScalingState,
    traffic: Traffic | None,
    tail: Tail | None,
    *,
    now_s: float,
    factor: float = 1.0,
    least_ips: float = 0.0,
) -> Decision:
    """The next decision on one model.

    `factor` is what a rate is to be multiplied by for its bursts, `least_ips` what is provided for in any
    case. Without traffic, None, everything is held.
    """
    if traffic is None:
        return Decision(state, Reason.NO_METRICS)
    state = state.until(now_s)
    demand_ips = forecast_ips(traffic)
    if state.provided_ips is None and not demand_ips:
        return Decision(state, Reason.STEADY, demand_ips)
    boost = _boost(state, tail, now_s)
    needed_ips = demand_ips * factor * boost
    peaks = _remember(state.peaks, needed_ips, now_s)
    provided_ips = _provided_ips(state, needed_ips, least_ips, now_s)
    if state.provided_ips is not None and provided_ips <= state.provided_ips and _may_fall(state, now_s):
        lowest_ips = _lowest_ips(state.provided_ips, peaks, traffic, factor * boost, now_s)
        provided_ips = _fallen_ips(state.provided_ips, lowest_ips, least_ips)
    is_changed = (provided_ips, boost) != (state.provided_ips, state.boost)
    changed_s, rose_s = now_s if is_changed else state.changed_s, _rose_s(state, provided_ips, now_s)
    after = ScalingState(provided_ips, boost, changed_s, peaks, rose_s)
    reason = _reason(state.provided_ips, provided_ips, is_boosted=boost > state.boost)
    return Decision(after, reason, demand_ips)


def forecast_ips(traffic: Traffic) -> float:
    """The rate to provide for: the settled one, unless the recent one stands out or there is a trend.

    What lies ahead is not reckoned with: within thirty seconds, a slope that is clearly none by chance is
    clear in the recent rate too, and a line through a step of ten seconds ago leads far above it.
    """
    noise_ips = _deviation_ips(traffic, RECENT_S)
    above_ips = traffic.recent_ips - traffic.steady_ips
    likely_ips = traffic.recent_ips - _LUCK * noise_ips
    skew = _SKEW if _has_slow_bursts(traffic) else 1.0
    if above_ips > skew * _SURGE * noise_ips:
        return likely_ips
    # By so much is the slope of a least-squares fit off by chance.
    slope_ips2 = sqrt(12) * _deviation_ips(traffic, traffic.steady_s) / traffic.steady_s
    if traffic.trend_ips2 > skew * _TREND * slope_ips2:
        return max(traffic.steady_ips, likely_ips)
    if above_ips < -_SURGE * noise_ips or traffic.trend_ips2 < -_TREND * slope_ips2:
        return traffic.recent_ips
    settled_ips, _ = _settled(traffic)
    return settled_ips


def _settled(traffic: Traffic) -> tuple[float, float]:
    """The surest rate of the present, and the seconds that it is of: two minutes, where nothing changed."""
    if traffic.long_s <= traffic.steady_s:
        return traffic.steady_ips, traffic.steady_s
    # The half minute is a part of the two: by so much do their rates differ by chance.
    apart_s = 1 / (1 / traffic.steady_s - 1 / traffic.long_s)
    has_changed = abs(traffic.steady_ips - traffic.long_ips) > _CHANGE * _deviation_ips(traffic, apart_s)
    return (traffic.steady_ips, traffic.steady_s) if has_changed else (traffic.long_ips, traffic.long_s)


def _deviation_ips(traffic: Traffic, over_s: float) -> float:
    """By how much a rate that is measured over so long is off by chance: one standard deviation."""
    dispersion = traffic.slow_dispersion if _has_slow_bursts(traffic) else traffic.dispersion
    return sqrt(dispersion * max(traffic.steady_ips, traffic.recent_ips) / over_s)


def _has_slow_bursts(traffic: Traffic) -> bool:
    return traffic.slow_dispersion > _SLOWER * traffic.dispersion


def misses_too_many(missed: int, requests: int, percentile: int) -> bool:
    """Whether so many of the requests miss their SLO that it is not kept, and not by chance."""
    may_miss = requests * (1 - percentile / 100)
    return missed > may_miss + _SIGNIFICANT * sqrt(may_miss) + 1


def _boost(state: ScalingState, tail: Tail | None, now_s: float) -> float:
    if tail is None or now_s < state.changed_s + _SETTLES_S:
        return state.boost
    if tail.is_late and tail.busy_permille >= BUSY_PERMILLE:
        return min(_MOST_BOOST, state.boost * _BOOST_STEP)
    is_calm = not tail.is_late and tail.ratio < _CALM_TAIL
    return max(1.0, state.boost / _BOOST_STEP) if is_calm else state.boost


def _remember(peaks: Iterable[Peak], needed_ips: float, now_s: float) -> tuple[Peak, ...]:
    """The peaks of the stabilisation window, with what is needed now."""
    kept = [peak for peak in peaks if now_s - STABILISATION_S < peak.since_s + PEAK_S]
    if kept and now_s < kept[-1].since_s + PEAK_S:
        last = kept.pop()
        return (*kept, Peak(last.since_s, max(last.needed_ips, needed_ips)))
    return (*kept, Peak(now_s, needed_ips))


def _may_fall(state: ScalingState, now_s: float) -> bool:
    """Whether the direction may change: not within a minute of when it last did."""
    return state.rose_s is None or now_s >= state.rose_s + TURN_S


def _rose_s(state: ScalingState, provided_ips: float, now_s: float) -> float | None:
    if state.provided_ips is None or provided_ips > state.provided_ips:
        return now_s if state.rose_s is None else state.rose_s
    return state.rose_s if provided_ips == state.provided_ips else None


def _lowest_ips(
    before_ips: float, peaks: Sequence[Peak], traffic: Traffic, unit: float, now_s: float
) -> float:
    """What is still to be provided for: less after a while, and sooner where it is less than by any chance.

    `unit` is what an item per second more is worth.
    """
    of_late = [peak for peak in peaks if now_s - QUICK_STABILISATION_S < peak.since_s + PEAK_S]
    quick_ips = max(peak.needed_ips for peak in of_late)
    noise_ips = unit * _deviation_ips(traffic, QUICK_STABILISATION_S)
    # Without its slow dispersion, the pause between two bursts looks like that; and a worker that hangs tells
    # of nothing that comes.
    is_believed = traffic.slow_dispersion > 0 and traffic.recent_ips > 0
    if is_believed and quick_ips + _NO_CHANCE * noise_ips < before_ips:
        return quick_ips + _QUICK_SPARE * noise_ips
    _, settled_s = _settled(traffic)
    return max(peak.needed_ips for peak in peaks) + _SPARE * unit * _deviation_ips(traffic, settled_s)


def _provided_ips(state: ScalingState, needed_ips: float, least_ips: float, now_s: float) -> float:
    """In steps, at once up to what is needed; a little more waits after a fall."""
    before_ips = state.provided_ips
    if before_ips is None:
        return max(least_ips, _step_above(needed_ips))
    has_just_fallen = state.rose_s is None and now_s < state.changed_s + TURN_S
    if needed_ips > before_ips * (_SPARED if has_just_fallen else 1.0) or least_ips > before_ips:
        return max(least_ips, _step_above(needed_ips))
    return before_ips


def _fallen_ips(before_ips: float, lowest_ips: float, least_ips: float) -> float:
    """In steps, down to `lowest_ips` where that is much less."""
    lower_ips = max(least_ips, _step_above(lowest_ips))
    return lower_ips if lower_ips <= _FALL * before_ips else before_ips


def _step_above(ips: float) -> float:
    """The next power of the step: small changes of a rate change nothing."""
    return float(_STEP ** ceil(log(ips, _STEP))) if ips > 0 else 0.0


def _reason(before_ips: float | None, provided_ips: float, *, is_boosted: bool) -> Reason:
    if before_ips == provided_ips:
        return Reason.STEADY
    if before_ips is not None and provided_ips < before_ips:
        return Reason.RATE_FELL
    return Reason.TAIL_LATE if is_boosted else Reason.RATE_ROSE
