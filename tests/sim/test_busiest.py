import numpy as np
import pytest

from kneescale.core.units import NS_PER_S
from kneescale.sim.busiest import busiest
from kneescale.sim.scenario import Scenario, ScenarioGpu, ScenarioModel, Trace
from tests.sim.serving import flat


def scenario(trace: Trace, **latencies_ms: float) -> Scenario:
    models = (
        ScenarioModel(
            name,
            slo_ms=100,
            rate_rps=len(trace.times_ns[name]) * NS_PER_S / trace.ends_ns,
            weight=1,
            surface=flat(latency_ms),
            surfaces={"": flat(latency_ms)},
        )
        for name, latency_ms in latencies_ms.items()
    )
    return Scenario(tuple(models), (ScenarioGpu("a", ""),), trace)


def evenly(start_s: float, end_s: float, rate_rps: float) -> list[int]:
    return [round(s * NS_PER_S) for s in np.arange(start_s, end_s, 1 / rate_rps)]


def test_it_is_where_requests_take_the_most_gpu_and_not_where_there_are_the_most() -> None:
    many = evenly(0, 100, 1) + evenly(20, 30, 9)
    few = evenly(0, 100, 0.1) + evenly(60, 70, 4)
    trace = Trace(
        {name: np.sort(np.array(times, dtype=np.int64)) for name, times in {"a": many, "b": few}.items()}
    )
    of = scenario(trace, a=1, b=10)
    then = busiest(of, trace, "", length_s=10, warmup_s=2)
    assert then.start_s == pytest.approx(60, abs=1)
    assert (then.length_s, then.warmup_s) == (10, 2)
    a, b = then.scenario.models
    assert b.rate_rps == pytest.approx(4.1, abs=0.15)
    # In the mean there are more of them.
    assert a.rate_rps == of.models[0].rate_rps > 1.5
    assert isinstance(then.scenario.arrivals, Trace)
    assert then.scenario.arrivals.times_ns["b"][-1] <= 12 * NS_PER_S
    assert len(then.scenario.arrivals.times_ns["a"]) == pytest.approx(12, abs=1)


def test_a_short_trace_is_taken_whole() -> None:
    trace = Trace({"a": np.array(evenly(0, 4.1, 10), dtype=np.int64)})
    then = busiest(scenario(trace, a=10), trace, "", length_s=10, warmup_s=2)
    assert (then.start_s, then.warmup_s) == (0, 0)
    assert 4 < then.length_s < 4.001, "a run holds what comes before its end"
    assert isinstance(then.scenario.arrivals, Trace)
    assert then.scenario.arrivals.ends_ns == trace.ends_ns


def test_what_comes_at_the_end_of_the_busiest_part_is_not_in_it() -> None:
    trace = Trace({"a": np.array([0, 10, 30, 33], dtype=np.int64) * NS_PER_S})
    then = busiest(scenario(trace, a=10), trace, "", length_s=10, warmup_s=0)
    assert then.start_s == pytest.approx(23)
    assert then.scenario.models[0].rate_rps == pytest.approx(0.2)
