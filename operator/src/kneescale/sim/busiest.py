"""The busiest part of a recorded trace, for which GPUs are bought."""

from dataclasses import dataclass, replace

import numpy as np

from kneescale.core.units import NS_PER_S
from kneescale.sim.scenario import Scenario, ScenarioModel, Trace
from kneescale.sim.tenant import Tenant


@dataclass(frozen=True, slots=True)
class Busiest:
    """A part of a trace: the models have its rates, or their means where those are higher.

    The scenario's trace begins `warmup_s` before.
    """

    scenario: Scenario
    start_s: float
    length_s: float
    warmup_s: float


def busiest(scenario: Scenario, trace: Trace, product: str, length_s: float, warmup_s: float) -> Busiest:
    """Those seconds of the trace whose requests take the most area of GPUs of the product."""
    length_ns = min(round(length_s * NS_PER_S), _whole_ns(trace))
    start_ns = _start_ns(scenario, trace, product, length_ns)
    from_ns = max(0, start_ns - round(warmup_s * NS_PER_S))
    end_ns = start_ns + length_ns
    counts = {
        name: int(np.count_nonzero((times_ns >= start_ns) & (times_ns < end_ns)))
        for name, times_ns in trace.times_ns.items()
    }
    cut = {
        name: times_ns[(times_ns >= from_ns) & (times_ns < end_ns)] - from_ns
        for name, times_ns in trace.times_ns.items()
    }
    models = tuple(
        replace(model, rate_rps=max(model.rate_rps, counts[model.name] * NS_PER_S / length_ns))
        for model in scenario.models
    )
    return Busiest(
        replace(scenario, models=models, arrivals=Trace(cut)),
        start_ns / NS_PER_S,
        length_ns / NS_PER_S,
        (start_ns - from_ns) / NS_PER_S,
    )


def _start_ns(scenario: Scenario, trace: Trace, product: str, length_ns: int) -> int:
    """When the busiest part begins: with a request, unless it would pass the trace's end."""
    times_ns = np.concatenate([trace.times_ns[model.name] for model in scenario.models])
    areas = np.concatenate(
        [np.full(len(trace.times_ns[model.name]), _area(model, product)) for model in scenario.models]
    )
    order = np.argsort(times_ns, kind="stable")
    times_ns, so_far = times_ns[order], np.concatenate([[0.0], np.cumsum(areas[order])])
    ends = np.searchsorted(times_ns, times_ns + length_ns, side="left")
    busiest_first = int(np.argmax(so_far[ends] - so_far[:-1]))
    return min(int(times_ns[busiest_first]), _whole_ns(trace) - length_ns)


def _whole_ns(trace: Trace) -> int:
    """The trace's length with its last request in it: a part holds what comes before its end."""
    return trace.ends_ns + 1


def _area(model: ScenarioModel, product: str) -> float:
    return Tenant(model.name, model.slo_ms, model.rate_rps, model.surfaces[product]).area_per_item
