"""What arrives for a model: its rate of late, where that is going, and how bursty it is."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from kneescale.core.units import NS_PER_S

#: Arrivals are counted in bins of this length.
BIN_NS = NS_PER_S // 2
#: A step is seen in so many bins; what is steady is told from all of them.
_RECENT_BINS = 10
_STEADY_BINS = 60
#: Bursts are told from more of them: from thirty seconds, MMPP's two states look like anything.
_BINS = 240
#: One in so many differences between neighbours may be a step of the rate.
_STEPS_IN = 100
#: Of fewer sums of five seconds, a step is in too many differences.
_LEAST_SUMS = 12
#: So many of the squares of a standard normal variable, the smallest, have this mean: with c their largest,
#: the chi-squared distribution of three degrees of freedom at c over the one of one.
_KEPT, _KEPT_SQUARE = 0.7, 0.310
#: Fewer complete bins than this say nothing yet.
_LEAST_BINS = 4
BIN_S = BIN_NS / NS_PER_S
RECENT_S = _RECENT_BINS * BIN_S


@dataclass(frozen=True, slots=True)
class Traffic:
    """Items per second that arrive.

    `recent_ips` is the rate over the last five seconds, `steady_ips` over the last thirty (or since the
    first arrival that is known of), over `steady_s` seconds; `trend_ips2` is what the rate gains each second.
    `dispersion` is the variance of the counts over their mean, of the last two minutes: 1 for single items at
    random; `slow_dispersion` the same of counts of five seconds, which bursts of a second or two make larger,
    and 0 while too little is known. `long_ips` is the rate over the last two minutes or what is known of
    them, `long_s` seconds: the surest one, where nothing changed in that time.
    """

    recent_ips: float = 0.0
    steady_ips: float = 0.0
    steady_s: float = 0.0
    trend_ips2: float = 0.0
    dispersion: float = 1.0
    slow_dispersion: float = 0.0
    long_ips: float = 0.0
    long_s: float = 0.0


class ArrivalMeter:
    """Counts arrivals in bins of half a second, the last two minutes of them."""

    def __init__(self, now_ns: int) -> None:
        self._bins: deque[int] = deque(maxlen=_BINS)
        self._count = 0
        self._end_ns = now_ns + BIN_NS

    def add(self, count: int, at_ns: int) -> None:
        """`count` items arrived."""
        if at_ns >= self._end_ns:
            self._close_bins(at_ns)
        self._count += count

    def counts(self, now_ns: int) -> tuple[int, ...]:
        """What has arrived in each complete bin."""
        if now_ns >= self._end_ns:
            self._close_bins(now_ns)
        return tuple(self._bins)

    def traffic(self, now_ns: int) -> Traffic | None:
        """What has arrived in complete bins; None before there are enough of them."""
        return traffic_of(self.counts(now_ns))

    def _close_bins(self, now_ns: int) -> None:
        closing = 1 + (now_ns - self._end_ns) // BIN_NS
        self._bins.append(self._count)
        self._bins.extend([0] * min(closing - 1, _BINS))
        self._count = 0
        self._end_ns += closing * BIN_NS


def together(parts: Iterable[Traffic]) -> Traffic:
    """The traffic of several workers as one meter would have counted it: rates and variances add up.

    A worker that is known of for less time than another had nothing before. So what moves from one to a new
    one counts once, although the rates of each are over different times.
    """
    parts = tuple(parts)
    window_s = max((part.steady_s for part in parts), default=0.0)
    long_s = max((part.long_s for part in parts), default=0.0)
    parts = tuple(_over(part, window_s) for part in parts)
    steady_ips = sum(part.steady_ips for part in parts)
    return Traffic(
        recent_ips=sum(part.recent_ips for part in parts),
        steady_ips=steady_ips,
        steady_s=window_s,
        trend_ips2=sum(part.trend_ips2 for part in parts),
        dispersion=_of_sum([(part.dispersion, part.steady_ips) for part in parts], default=1.0),
        slow_dispersion=_of_sum(
            [(part.slow_dispersion, part.steady_ips) for part in parts if part.slow_dispersion], default=0.0
        ),
        long_ips=sum(part.long_ips * part.long_s for part in parts) / long_s if long_s else 0.0,
        long_s=long_s,
    )


def _of_sum(parts: Sequence[tuple[float, float]], default: float) -> float:
    """The dispersion of a sum of counts, from each part's and its rate."""
    rate_ips = sum(rate_ips for _, rate_ips in parts)
    return sum(of_one * of_rate for of_one, of_rate in parts) / rate_ips if rate_ips else default


def _over(traffic: Traffic, window_s: float) -> Traffic:
    """The same items over a longer time, at whose end they came."""
    if traffic.steady_s == window_s:
        return traffic
    part = traffic.steady_s / window_s
    recent_s = min(RECENT_S, window_s)
    # The slope is the first moment of the items about the middle of the time, over a twelfth of its cube.
    later_s = (window_s - traffic.steady_s) / 2
    moment = traffic.trend_ips2 * traffic.steady_s**3 / 12 + later_s * traffic.steady_ips * traffic.steady_s
    return replace(
        traffic,
        recent_ips=traffic.recent_ips * min(traffic.steady_s, recent_s) / recent_s,
        steady_ips=traffic.steady_ips * part,
        steady_s=window_s,
        trend_ips2=12 * moment / window_s**3,
    )


def traffic_of(bins: Sequence[int]) -> Traffic | None:
    """What a meter's counts say; None where they are too few."""
    if len(bins) < _LEAST_BINS:
        return None
    recent, steady = bins[-_RECENT_BINS:], bins[-_STEADY_BINS:]
    return Traffic(
        recent_ips=sum(recent) / (len(recent) * BIN_S),
        steady_ips=sum(steady) / (len(steady) * BIN_S),
        steady_s=len(steady) * BIN_S,
        trend_ips2=_slope(steady) / BIN_S**2,
        dispersion=dispersion(bins),
        slow_dispersion=_slow_dispersion(bins),
        long_ips=sum(bins) / (len(bins) * BIN_S),
        long_s=len(bins) * BIN_S,
    )


def _slope(bins: Sequence[int]) -> float:
    """Items a bin gained each bin, by least squares."""
    middle = (len(bins) - 1) / 2
    mean = sum(bins) / len(bins)
    return sum((i - middle) * (count - mean) for i, count in enumerate(bins)) / sum(
        (i - middle) ** 2 for i in range(len(bins))
    )


def _slow_dispersion(bins: Sequence[int]) -> float:
    """Of sums of as many bins as are recent; 0 where there are too few.

    From the squared differences of neighbouring sums at every place, without the largest three tenths: a
    peak's steps are in no more of them, and hardly move it.
    """
    if len(bins) < _LEAST_SUMS * _RECENT_BINS or not any(bins):
        return 0.0
    so_far = [0, *accumulate(bins)]
    sums = [last - first for first, last in zip(so_far, so_far[_RECENT_BINS:], strict=False)]
    squares = sorted(_squares(sums, apart=_RECENT_BINS))
    kept = squares[: round(_KEPT * len(squares))]
    variance = sum(kept) / len(kept) / _KEPT_SQUARE / 2
    return max(1.0, variance * len(bins) / _RECENT_BINS / sum(bins))


def dispersion(bins: Sequence[int]) -> float:
    """Variance over mean, from neighbours' differences without the largest hundredth: so no step shows in it.

    The Allan factor (Allan, "Statistics of atomic frequency standards", 1966). At least 1, as little as
    that can be told from so few bins; 1 from fewer than are recent, which tell nothing.
    """
    if len(bins) < _RECENT_BINS:
        return 1.0
    squares = sorted(_squares(bins))
    del squares[len(squares) - len(squares) // _STEPS_IN :]
    mean = sum(bins) / len(bins)
    return max(1.0, sum(squares) / len(squares) / (2 * mean)) if mean else 1.0


def _squares(counts: Sequence[int], apart: int = 1) -> list[int]:
    """Of the differences of counts so many places apart."""
    return [(after - before) ** 2 for before, after in zip(counts, counts[apart:], strict=False)]
