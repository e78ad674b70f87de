"""A placement keeps every limit, and does not move what it placed."""

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.planning.configuration import Configuration
from kneescale.core.planning.placement import Demand, Device, Placed, Unplaced, pack, place

PRODUCTS = ("V100", "T4")
GIB = 1 << 30
LIMIT_PERMILLE = 850

devices = st.lists(
    st.tuples(
        st.sampled_from(("n1", "n2")), st.sampled_from(PRODUCTS), st.integers(1, 16), st.integers(0, 4)
    ),
    max_size=5,
).map(
    lambda rows: [
        Device(f"uuid-{i}", node, f"gpu{i}", product, memory_gib * GIB, clients)
        for i, (node, product, memory_gib, clients) in enumerate(rows)
    ]
)
configurations = st.dictionaries(
    st.sampled_from(PRODUCTS),
    st.builds(
        Configuration,
        gpu_percent=st.integers(1, 100),
        batch=st.integers(1, 16),
        latency_ms=st.floats(1, 50),
        efficacy=st.just(1.0),
        area_permille=st.integers(0, 2500),
    ),
)
replica_bounds = st.tuples(st.integers(1, 3), st.integers(0, 2)).map(lambda pair: (pair[0], sum(pair)))


@st.composite
def demand_lists(draw: st.DrawFn) -> list[Demand]:
    names = draw(st.lists(st.sampled_from("abcdefg"), unique=True))
    return [
        Demand(
            name,
            draw(configurations),
            draw(st.integers(0, 8)) * GIB,
            *draw(replica_bounds),
            is_elastic=draw(st.booleans()),
        )
        for name in names
    ]


currents = st.dictionaries(
    st.sampled_from("abcdefgh"), st.lists(st.sampled_from([f"uuid-{i}" for i in range(7)]), unique=True)
)


def is_squeezed(found: Placed | Unplaced) -> bool:
    return isinstance(found, Placed) and found.squeezed is not None


def devices_by_model(outcome: Mapping[str, Placed | Unplaced]) -> Mapping[str, Sequence[str]]:
    return {model: found.devices for model, found in outcome.items() if isinstance(found, Placed)}


def check_limits(
    demands: Sequence[Demand], gpus: Sequence[Device], outcome: Mapping[str, Placed | Unplaced]
) -> None:
    placed = devices_by_model(outcome)
    for gpu in gpus:
        tenants = [demand for demand in demands if gpu.uuid in placed.get(demand.model, ())]
        area = sum(
            demand.configurations[gpu.product].area_permille / len(placed[demand.model])
            for demand in tenants
            if not is_squeezed(outcome[demand.model])
        )
        assert area <= LIMIT_PERMILLE
        assert sum(demand.memory_bytes for demand in tenants) <= gpu.memory_bytes
        assert len(tenants) <= gpu.clients


@given(demand_lists(), devices, currents)
def test_no_limit_is_passed(demands: list[Demand], gpus: list[Device], current: dict[str, list[str]]) -> None:
    outcome = place(demands, gpus, current, area_limit_permille=LIMIT_PERMILLE)
    assert set(outcome) == {demand.model for demand in demands}
    placed = devices_by_model(outcome)
    for demand in demands:
        assert (
            len(set(placed.get(demand.model, ()))) == len(placed.get(demand.model, ())) <= demand.max_replicas
        )
    check_limits(demands, gpus, outcome)


@given(demand_lists(), devices, currents)
def test_placing_again_changes_nothing(
    demands: list[Demand], gpus: list[Device], current: dict[str, list[str]]
) -> None:
    first = place(demands, gpus, current, area_limit_permille=LIMIT_PERMILLE)
    settled = devices_by_model(first)
    assert place(demands, gpus, settled, area_limit_permille=LIMIT_PERMILLE) == first


@given(demand_lists(), devices, currents)
def test_the_order_of_what_is_asked_does_not_matter(
    demands: list[Demand], gpus: list[Device], current: dict[str, list[str]]
) -> None:
    assert place(demands[::-1], gpus[::-1], current) == place(demands, gpus, current)


@given(demand_lists(), devices)
def test_packing_passes_no_limit(demands: list[Demand], gpus: list[Device]) -> None:
    check_limits(demands, gpus, pack(demands, gpus, area_limit_permille=LIMIT_PERMILLE))
