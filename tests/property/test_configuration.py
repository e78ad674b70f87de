"""The chosen configuration is the best there is."""

from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.errors import InfeasibleError
from kneescale.core.planning.configuration import choose_configuration
from kneescale.core.surfaces.knee import efficacy
from kneescale.core.surfaces.parametric import Parameters
from kneescale.core.surfaces.surface import doubling_batches

figures = st.builds(
    Parameters,
    host_ms=st.floats(0.1, 30),
    serial_ms=st.floats(0, 5),
    fixed_work=st.floats(0, 300),
    work=st.floats(1, 300),
)


@given(
    figures,
    st.floats(1, 500),
    st.one_of(st.none(), st.floats(0.1, 5000)),
    st.sets(st.integers(1, 100), min_size=1, max_size=8),
    st.integers(1, 24),
)
def test_no_feasible_run_has_a_higher_efficacy(
    parameters: Parameters, slo_ms: float, rate_rps: float | None, lanes: set[int], max_batch: int
) -> None:
    surface = parameters.surface(sorted(lanes), doubling_batches(max_batch))
    feasible = {
        (lane, batch): efficacy(lane, batch, surface.latency_ms(lane, batch))
        for lane in lanes
        for batch in range(1, max_batch + 1)
        if (latency_ms := surface.latency_ms(lane, batch)) <= slo_ms / 2
        and latency_ms + (1000 * (batch - 1) / rate_rps if rate_rps else 0) <= slo_ms
    }
    try:
        chosen = choose_configuration(
            surface, slo_ms=slo_ms, rate_rps=rate_rps, lanes=sorted(lanes), max_batch=max_batch
        )
    except InfeasibleError:
        assert not feasible
    else:
        assert feasible[chosen.gpu_percent, chosen.batch] == max(feasible.values())
