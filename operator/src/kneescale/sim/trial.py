"""One simulated run of a GPU's models under a system, and the search for the load that it can carry."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil

import numpy as np

from kneescale.core.errors import InvalidInputError
from kneescale.core.units import NS_PER_S
from kneescale.sim.arrivals import Requests, Times, bursty, poisson, uniform
from kneescale.sim.engine import Slowness, System
from kneescale.sim.record import Record
from kneescale.sim.scenario import Arrivals, Bursty, Poisson, Shaped, Trace, Uniform
from kneescale.sim.shapes import sampled
from kneescale.sim.tenant import Tenant, load_of

#: A capacity is searched up to this many times the fluid bound, and to this part of it,
_BEYOND_BOUND = 1.05
_RESOLUTION = 0.01
#: or where even that is carried, up to twice as many and so on: of the requests that may miss none need run.
_MOST_DOUBLINGS = 10
#: Of a trace that mostly rests even that part may be too much: below it the search goes on as long as a trial
#: can be. Of so much time int64 holds the ns.
_LONGEST_S = 5e9
#: A run is to count at least so many of the longest SLO: what comes last is answered after its end, up to an
#: SLO later, and so a shorter one would carry much more than the fluid bound.
LEAST_SLOS = 20
#: From a guess it is looked for this many such steps further on, then twice as far, and so on.
_FIRST_STRIDE = 2
#: About as many loads as one search tries are remembered, each of up to about so many requests: 10 MB.
_REMEMBERED_LOADS = 16
_REMEMBERED_REQUESTS = 100_000

#: (name, requests per second) of each model.
_Rates = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """How to load a GPU: requests that arrive from `warmup_s` to `duration_s` count.

    Of a recorded trace these are times at its own rate.
    """

    arrivals: Arrivals
    duration_s: float = 60.0
    warmup_s: float = 5.0
    #: Whatever numbers tell one run's randomness from another's.
    seed: tuple[int, ...] = (1,)
    #: Standard deviation of batch times, as a part of what the surface says.
    noise: float = 0.0
    #: How often a trace is played, each time from its start; only the first warms up.
    plays: int = 1

    def run(
        self,
        tenants: tuple[Tenant, ...],
        system: System,
        *,
        load: float = 1.0,
        least_attainment: float = 0.0,
    ) -> Record:
        """Serve `load` times the tenants' rates.

        It ends early, with figures of no meaning, once a model cannot reach `least_attainment` any more.
        """
        timed = self.at(load)
        loaded = tuple(replace(tenant, rate_rps=load * tenant.rate_rps) for tenant in tenants)
        requests = timed._requests(tuple((tenant.name, tenant.rate_rps) for tenant in loaded), load)
        from_ns, until_ns = round(timed.warmup_s * NS_PER_S), timed.plays * timed._duration_ns
        return system(
            loaded,
            requests,
            from_ns=from_ns,
            until_ns=until_ns,
            slowness=Slowness(self.noise, np.random.default_rng(self.seed)),
            allowed_misses=[_allowed(of_one, from_ns, least_attainment) for of_one in requests.by_model],
        )

    def at(self, load: float) -> "Trial":
        """The same with the times that it has at that load, which plays a trace so much faster.

        Raises InvalidInputError where at so little load a trace would take longer than can be simulated.
        """
        if not isinstance(self.arrivals, Trace):
            return self
        if self.duration_s / load > _LONGEST_S:
            raise InvalidInputError(
                f"at load {load:.3g} the trace takes {self.duration_s / load:.3g} s: too long"
            )
        # Whole ns, and no fewer: the last request is to come before the end at any load.
        duration_ns = ceil(self.duration_s / load * NS_PER_S)
        return replace(self, duration_s=duration_ns / NS_PER_S, warmup_s=self.warmup_s / load)

    def counting(self, least_s: float, load: float) -> "Trial":
        """The same with a trace played as often as it takes to count so many seconds at that load."""
        if not isinstance(self.arrivals, Trace):
            return self
        return replace(self, plays=max(1, ceil((least_s * load + self.warmup_s) / self.duration_s)))

    @property
    def _duration_ns(self) -> int:
        return round(self.duration_s * NS_PER_S)

    def _requests(self, rates: _Rates, load: float) -> Requests:
        """Those at these rates, which `load` made them; a search for parameters asks often for the same."""
        expected = self.plays * self.duration_s * sum(rate_rps for _, rate_rps in rates)
        return (_remembered if expected <= _REMEMBERED_REQUESTS else _drawn)(self, rates, load)

    def times(self, number: int, name: str, rate_rps: float, load: float = 1.0) -> Times:
        """When the requests come of the model with that number and name, at the rate that `load` makes it."""
        # Randomness of its own for each model: adding a model changes no other's arrivals.
        rng = np.random.default_rng([*self.seed, 1 + number])
        match self.arrivals:
            case Uniform():
                return uniform(rate_rps, self.duration_s, rng)
            case Poisson():
                return poisson(rate_rps, self.duration_s, rng)
            case Bursty():
                return bursty(rate_rps, self.duration_s, rng)
            case Shaped(shape):
                return sampled(shape, rate_rps, self.duration_s, rng)
            case Trace(times_ns):
                once = _compressed(times_ns[name], load, self.duration_s)
                return np.add.outer(self._duration_ns * np.arange(self.plays), once).ravel()


def _drawn(trial: Trial, rates: _Rates, load: float) -> Requests:
    times = [trial.times(number, name, rate_rps, load) for number, (name, rate_rps) in enumerate(rates)]
    return Requests(times)


_remembered = lru_cache(maxsize=_REMEMBERED_LOADS)(_drawn)


def capacity(
    tenants: tuple[Tenant, ...],
    system: System,
    trial: Trial,
    attainment: float = 0.99,
    *,
    above: float = 0.0,
    near: float | None = None,
    resolution: float = _RESOLUTION,
) -> float:
    """The largest load, as a factor on the tenants' rates, at which every model keeps that attainment.

    By bisection, to `resolution` of the fluid bound; `above` where not even that much more is carried. Where
    a trace's capacity is less than that, to a hundredth of itself. With a guess that is `near` it takes about
    half as many runs.
    """
    step = resolution / load_of(tenants)
    least_s = LEAST_SLOS * max(tenant.slo_ns for tenant in tenants) / NS_PER_S

    def carries_load(load: float) -> bool:
        counting = trial.counting(least_s, load)
        return keeps(counting.run(tenants, system, load=load, least_attainment=attainment), attainment)

    def carries(steps: int) -> bool:
        return carries_load(steps * step)

    low = round(above / step) if above >= step else 0
    top = max(low + 1, round(_BEYOND_BOUND / resolution))
    low, high = _bracket(carries, low, top, round(near / step)) if near is not None else (low, top)
    low = _bisected(carries, low, high)
    for _ in range(_MOST_DOUBLINGS):
        if low < top - 1 or not carries(top):
            break
        low, top = top, 2 * top
        low = _bisected(carries, low, top)
    if low or not isinstance(trial.arrivals, Trace):
        return low * step
    return max(above, _below(carries_load, step, max(above, trial.duration_s / _LONGEST_S)))


def _bisected(carries: Callable[[int], bool], low: int, high: int) -> int:
    """The last that is carried, where `low` is and `high` is not."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if carries(middle) else (low, middle)
    return low


def _below(carries: Callable[[float], bool], high: float, low: float) -> float:
    """The largest load below `high`, which is not carried, that is; 0 where there is none above `low`."""
    while high / 2 > low:
        high /= 2
        if carries(high):
            return _refined(carries, high)
    return 0.0


def _refined(carries: Callable[[float], bool], low: float) -> float:
    """The largest load that is carried, to a hundredth of `low`, where `low` is and twice as much is not."""
    step, steps = _RESOLUTION * low, round(1 / _RESOLUTION)
    return step * _bisected(lambda tried: carries(tried * step), steps, 2 * steps)


def _bracket(carries: Callable[[int], bool], low: int, high: int, guess: int) -> tuple[int, int]:
    """The part of `low` to `high` that holds the answer, as seen from the guess."""
    inside, stride = min(max(guess, low + 1), high - 1), _FIRST_STRIDE
    if carries(inside):
        while inside + stride < high and carries(inside + stride):
            inside, stride = inside + stride, 2 * stride
        return inside, min(inside + stride, high)
    while inside - stride > low and not carries(inside - stride):
        inside, stride = inside - stride, 2 * stride
    return max(inside - stride, low), inside


def keeps(record: Record, attainment: float) -> bool:
    """Whether each model's attainment is at least that."""
    return all(
        within >= attainment * sent for within, sent in zip(record.within_slo, record.sent, strict=True)
    )


def _allowed(times: Times, from_ns: int, attainment: float) -> int:
    sent = int(np.count_nonzero(times >= from_ns))
    # In floats (1 - 0.9) * 10 is less than 1: this is what `keeps` asks, to the last one.
    return sent - ceil(attainment * sent)


def _compressed(times_ns: Times, load: float, duration_s: float) -> Times:
    """A recorded trace at `load` times its rate, from its start."""
    # Cut before they are whole: int64 does not hold the times of a little load.
    compressed = times_ns / load
    return compressed[compressed < duration_s * NS_PER_S].astype(np.int64)
