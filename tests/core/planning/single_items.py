"""Models of single items, with any latencies."""

from hypothesis import strategies as st

from kneescale.core.planning.fluid import Workload
from kneescale.core.surfaces.surface import LatencySurface, Point

PERCENTS = (20, 30, 50, 70, 100)


def workload(name: str, rate_rps: float, latencies_ms: list[float], limit_ms: float = 1000) -> Workload:
    points = map(Point, PERCENTS, [1] * len(PERCENTS), latencies_ms)
    return Workload(name, rate_rps, limit_ms, {"": LatencySurface.from_points(points)})


workloads = st.lists(
    st.tuples(st.floats(1, 100), st.lists(st.floats(1, 50), min_size=5, max_size=5)), min_size=1, max_size=4
).map(lambda drawn: [workload(str(number), *one) for number, one in enumerate(drawn)])
