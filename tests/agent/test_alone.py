"""What workers may do without their agent: each its plan, and together no more than the GPU."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kneescale.agent.assignment import assign
from kneescale.api.gpu_schedule import parse_gpu_schedule
from kneescale.core.units import NS_PER_MS
from kneescale.core.wire import Terms
from tests.agent.builders import LANES, partition, schedule


def _terms(*partitions: dict[str, Any]) -> list[Terms]:
    spec = parse_gpu_schedule(schedule(partitions)).spec
    return [p.worker_terms for p in assign(spec, []).partitions]


def _shares(*partitions: dict[str, Any]) -> list[int]:
    """In permille of the time of one lane."""
    return [terms.share_permille for terms in _terms(*partitions)]


def test_a_worker_may_be_busy_twice_its_planned_time() -> None:
    terms, _ = _terms(partition("a"), partition("b"))
    assert terms == Terms(slo_ns=100 * NS_PER_MS, batch=8, gpu_percent=50, share_permille=400)


def test_it_runs_the_largest_batches_that_take_a_quarter_of_its_slo() -> None:
    # A batch of one takes 4 ms on 50 GPU%, one of eight 8 ms.
    batches = [_terms(partition("a", batch=1, sloMilliseconds=slo))[0].batch for slo in (32, 31)]
    assert batches == [8, 1]


def test_a_worker_that_measures_keeps_its_batch() -> None:
    (terms,) = _terms(partition("p", role="Profile", surface=[], batch=1))
    assert terms.batch == 1


def test_a_worker_has_the_lanes_of_its_plan_if_it_has_them_at_all() -> None:
    planned = {"gpuPercent": 20, "areaPermille": 430}
    assert _shares(partition("a", **planned)) == [4300]
    assert _shares(partition("a", lanes=[20, 20, 50], pool=True, **planned)) == [2000]


@given(st.lists(st.tuples(st.sampled_from(LANES), st.integers(0, 1000)), min_size=1, max_size=8))
def test_workers_have_their_plan_and_together_no_more_than_the_gpu(runs: list[tuple[int, int]]) -> None:
    shares = _shares(
        *(partition(f"m{i}", gpuPercent=lane, areaPermille=area) for i, (lane, area) in enumerate(runs))
    )
    for (lane, area), share in zip(runs, shares, strict=True):
        assert share >= min(area * 100 // lane, 100 // lane * 1000)
    planned = sum(area for _, area in runs)
    at_least_permille = sum(lane / 100 for lane, _ in runs)
    together = sum(lane * share / 100 for (lane, _), share in zip(runs, shares, strict=True))
    assert planned > 1000 or together <= min(2 * planned, 1000) + at_least_permille
