from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale.sim.gpu import Gpu
from kneescale.sim.run import Run
from tests.sim.serving import MS, flat, tenant

TENANTS = (tenant("knee"), tenant("flat", of=flat(10)))

starts = st.lists(
    st.tuples(
        st.integers(0, 1), st.integers(1, 8), st.sampled_from((5, 20, 50, 100)), st.integers(0, 30 * MS)
    ),
    min_size=1,
    max_size=12,
)


def finished(starts: list[tuple[int, int, int, int]]) -> list[Run]:
    """All runs (model, batch, GPU%, start), after a GPU has gone through them."""
    gpu, ended = Gpu(TENANTS), list[Run]()
    for model, batch, percent, start_ns in sorted(starts, key=lambda start: start[3]):
        ended += ended_until(gpu, start_ns)
        gpu.start(Run(model, batch, percent, start_ns))
    return ended + ended_until(gpu, 1 << 62)


def ended_until(gpu: Gpu, now_ns: int) -> list[Run]:
    ended: list[Run] = []
    while (end_ns := gpu.next_end_ns()) is not None and end_ns <= now_ns:
        ended += gpu.take_ended(end_ns)
    return ended


def alone_ns(run: Run) -> int:
    return TENANTS[run.model].latency_ns(run.gpu_percent, run.batch)


def test_a_run_alone_takes_what_its_surface_says() -> None:
    (run,) = finished([(0, 8, 20, 5)])
    assert run.end_ns == 5 + TENANTS[0].latency_ns(20, 8)


def test_runs_that_fit_together_do_not_disturb_each_other() -> None:
    runs = finished([(0, 8, 50, 0), (1, 1, 50, 7)])
    assert all(run.end_ns - run.started_ns == alone_ns(run) for run in runs)


def test_runs_that_ask_for_too_much_share_in_proportion() -> None:
    gpu = Gpu(TENANTS)
    runs = [Run(1, 1, 100, 0), Run(1, 1, 50, 0)]
    for run in runs:
        gpu.start(run)
    assert [run.share_percent for run in runs] == pytest.approx([200 / 3, 100 / 3])
    assert gpu.asked_percent == 150


def test_who_is_left_alone_gets_the_rest_at_full_speed() -> None:
    # Each has half of the GPU for 10 ms, in which half of its 10 ms of work is done.
    runs = finished([(1, 1, 100, 0), (1, 1, 100, 10 * MS - 5 * MS)])
    assert [run.end_ns for run in runs] == [15 * MS, 20 * MS]


@given(starts)
def test_every_run_ends_once_and_in_order(starts: list[tuple[int, int, int, int]]) -> None:
    runs = finished(starts)
    assert len(runs) == len(set(map(id, runs))) == len(starts)
    assert all(first.end_ns <= second.end_ns for first, second in pairwise(runs))


@given(starts)
def test_contention_never_makes_a_run_faster(starts: list[tuple[int, int, int, int]]) -> None:
    # Each change of shares may round its end by half a nanosecond.
    assert all(run.end_ns - run.started_ns >= alone_ns(run) - 2 * len(starts) for run in finished(starts))


@given(st.lists(st.tuples(st.integers(1, 8), st.sampled_from((60, 100))), min_size=2, max_size=40))
def test_contention_loses_no_work(asked: list[tuple[int, int]]) -> None:
    # The flat model makes full use of any share: the last run ends when all work is done.
    runs = finished([(1, batch, percent, 0) for batch, percent in asked])
    work_ns = len(runs) * 10 * MS
    last = runs[-1]
    left_alone_ns = max(0, 10 * MS * (100 - last.gpu_percent) / last.gpu_percent)
    assert work_ns - len(asked) <= last.end_ns <= work_ns + left_alone_ns + len(asked)


@given(st.integers(1, 99), st.floats(0.01, 0.99), st.integers(1, 8))
def test_a_share_between_two_whole_ones_is_between_their_latencies(
    percent: int, part: float, batch: int
) -> None:
    one = TENANTS[0]
    shared_ns = one.shared_latency_ns(percent + part, batch)
    assert one.latency_ns(percent + 1, batch) - 1 <= shared_ns <= one.latency_ns(percent, batch) + 1


def test_less_than_one_percent_takes_longer_in_proportion() -> None:
    assert TENANTS[0].shared_latency_ns(0.25, 8) == 4 * TENANTS[0].latency_ns(1, 8)
