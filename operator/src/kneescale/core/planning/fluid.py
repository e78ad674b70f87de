"""The fluid bound: the largest load that any schedule of a set of models on a set of GPUs can carry.

A linear programme over (model, GPU product, GPU%, batch): how many runs of each configuration start per
second. It forgets queues, bursts and that runs must fit beside each other, and keeps what no schedule
escapes: GPU area (GPU% x time), lanes, memory. So every schedule that grants these GPU%s stays below it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray

from kneescale.core.errors import InfeasibleError, InvalidInputError
from kneescale.core.planning.linear_programme import LinearProgramme
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import MS_PER_S, WHOLE_GPU_PERCENT

#: Below this a rate or a dual price is the solver's rounding.
_NEGLIGIBLE = 1e-9

#: GPU% -> how many runs a worker can have at that GPU% at once; `inf` for any number.
Lanes = Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Workload:
    """One model's demand: requests per second, and how long a run may take.

    `limit_ms` is the SLO where every schedule is to be bounded, half of it for those that keep D-STACK's
    own rule (arXiv 2304.13541). `surfaces` has f(p, b) by GPU product; without `lanes` a run may have any
    of its surface's GPU%s.
    """

    name: str
    rate_rps: float
    limit_ms: float
    surfaces: Mapping[str, LatencySurface]
    lanes: Lanes | None = None
    memory_gib: float = 0.0


@dataclass(frozen=True, slots=True)
class GpuPool:
    """GPUs of one product, and the memory of each."""

    product: str
    gpus: int
    memory_gib: float = inf


@dataclass(frozen=True, slots=True)
class RunMix:
    """One configuration, and how many of its runs start per second at the bound's load."""

    product: str
    gpu_percent: int
    batch: int
    latency_ms: float
    runs_per_s: float

    @property
    def area_percent(self) -> float:
        """The GPU% that these runs hold in the mean: 100 is one GPU."""
        return self.runs_per_s * self.gpu_percent * self.latency_ms / MS_PER_S


@dataclass(frozen=True, slots=True)
class ModelBound:
    """How one model is carried at the bound's load, and what it costs the others.

    `share` is the part of the limit that its rate takes, by its dual price: the shares add up to 1.
    `price_percent` is what one more request per second takes of the dearest GPUs' area, in GPU%.
    """

    name: str
    runs: tuple[RunMix, ...]
    share: float
    price_percent: float

    @property
    def area_percent(self) -> float:
        """The GPU% that its runs hold in the mean: 100 is one GPU."""
        return sum(run.area_percent for run in self.runs)


@dataclass(frozen=True, slots=True)
class FluidBound:
    """The largest factor on all rates, the runs that carry it, and what it is limited by."""

    load: float
    models: tuple[ModelBound, ...]
    limits: tuple[str, ...]


def fluid_bound(workloads: Sequence[Workload], pools: Sequence[GpuPool]) -> FluidBound:
    """The largest factor on all rates that any schedule on the pools' GPUs can carry.

    Schedules choose from the surfaces' own GPU%s: between them p * f(p, b) is linear in p, so none in
    between is cheaper than both its neighbours, unless only the dearer one is in time. At each GPU% only the
    batch with the least time per item is kept, for all that a run takes is in proportion to its time.
    Raises InvalidInputError on two models of one name and InfeasibleError where a model has no run within
    its limit, or the memory is too small.
    """
    _check(workloads, pools)
    columns = [
        column
        for number, workload in enumerate(workloads)
        for column in _columns_in_time(number, workload, pools)
    ]
    return _Programme(workloads, pools, columns).solve()


def temporal_bound(workloads: Sequence[Workload], pools: Sequence[GpuPool]) -> FluidBound:
    """The same where every run has a whole GPU, one at a time."""
    whole = {WHOLE_GPU_PERCENT: inf}
    return fluid_bound([replace(workload, lanes=whole) for workload in workloads], pools)


def fastest_batch(surface: LatencySurface, limit_ms: float, gpu_percent: int) -> int | None:
    """The batch with the least time per item at a GPU%, of those that end in time; None if none does."""
    latency_ms = {
        batch: surface.latency_ms(gpu_percent, batch) for batch in range(1, surface.batches[-1] + 1)
    }
    in_time = [batch for batch in latency_ms if latency_ms[batch] <= limit_ms]
    return min(in_time, key=lambda batch: latency_ms[batch] / batch, default=None)


def most_items_per_s(
    surface: LatencySurface, limit_ms: float, gpu_percents: Iterable[int] | None = None
) -> dict[int, float]:
    """What one batch after the other carries on each GPU%, of those on which any ends in time.

    The surface's own GPU%s unless others are given.
    """
    return {
        percent: batch * MS_PER_S / surface.latency_ms(percent, batch)
        for percent in gpu_percents or surface.gpu_percents
        if (batch := fastest_batch(surface, limit_ms, percent))
    }


def least_area_per_item(surface: LatencySurface, limit_ms: float) -> float:
    """The least GPU% x s that one item can take in runs that end in time.

    Raises InfeasibleError where none does.
    """
    most_per_s = most_items_per_s(surface, limit_ms)
    if not most_per_s:
        raise InfeasibleError(f"no run ends in {limit_ms:g} ms")
    return min(percent / items for percent, items in most_per_s.items())


@dataclass(frozen=True, slots=True)
class _Column:
    """A configuration of the workload, on the pool, with these numbers."""

    workload: int
    pool: int
    gpu_percent: int
    batch: int
    latency_ms: float

    @property
    def seconds(self) -> float:
        """How long one run takes."""
        return self.latency_ms / MS_PER_S

    @property
    def area(self) -> float:
        """What one run takes, in GPU% x s."""
        return self.gpu_percent * self.seconds


def _check(workloads: Sequence[Workload], pools: Sequence[GpuPool]) -> None:
    twice = [name for name, count in Counter(workload.name for workload in workloads).items() if count > 1]
    if twice:
        raise InvalidInputError(f"model {twice[0]} is given twice")
    largest_gib = max(pool.memory_gib for pool in pools)
    for workload in workloads:
        if workload.memory_gib > largest_gib:
            raise InfeasibleError(
                f"model {workload.name}: needs {workload.memory_gib:g} GiB of GPU memory; "
                f"no GPU has more than {largest_gib:g}"
            )
    needed_gib = sum(workload.memory_gib for workload in workloads)
    have_gib = sum(pool.gpus * pool.memory_gib for pool in pools)
    if needed_gib > have_gib:
        raise InfeasibleError(f"the models need {needed_gib:g} GiB of GPU memory; there are {have_gib:g}")


def _columns_in_time(number: int, workload: Workload, pools: Sequence[GpuPool]) -> list[_Column]:
    columns = [
        _Column(number, pool, percent, batch, surface.latency_ms(percent, batch))
        for pool, gpus in enumerate(pools)
        if (surface := workload.surfaces.get(gpus.product))
        for percent in (surface.gpu_percents if workload.lanes is None else sorted(workload.lanes))
        if (batch := fastest_batch(surface, workload.limit_ms, percent))
    ]
    if not columns:
        raise InfeasibleError(
            f"model {workload.name}: no run on these GPUs ends in {workload.limit_ms:g} ms; "
            f"the fastest takes {_fastest_ms(workload, pools):.3g} ms"
        )
    return columns


def _fastest_ms(workload: Workload, pools: Sequence[GpuPool]) -> float:
    """How long an item takes at least, on the largest GPU% that the workload can have."""
    surfaces = (workload.surfaces[pool.product] for pool in pools if pool.product in workload.surfaces)
    percent = max(workload.lanes or [WHOLE_GPU_PERCENT])
    return min((surface.latency_ms(percent, 1) for surface in surfaces), default=inf)


class _Programme:
    """The unknowns are runs per second by column, workers by (workload, pool), and the load."""

    def __init__(
        self, workloads: Sequence[Workload], pools: Sequence[GpuPool], columns: Sequence[_Column]
    ) -> None:
        self._workloads = workloads
        self._pools = pools
        self._columns = columns
        self._load = len(columns) + len(workloads) * len(pools)
        most_workers = [
            pool.gpus * (workload.memory_gib <= pool.memory_gib) for workload in workloads for pool in pools
        ]
        self._programme = LinearProgramme([*[inf] * len(columns), *most_workers, inf])
        self._of_workload: list[list[int]] = [[] for _ in workloads]
        for index, column in enumerate(columns):
            self._of_workload[column.workload].append(index)
        self._load_unit = self._load_of_one_percent()

    def solve(self) -> FluidBound:
        """Maximise the load."""
        demand = [self._add_demand(number) for number in range(len(self._workloads))]
        areas = self._add_areas()
        limits = {**areas, **dict(self._add_lanes()), **dict(self._add_memory())}
        values, prices = self._programme.maximise(self._load)
        dearest = max(float(prices[row]) for row in areas)
        return FluidBound(
            load=self._load_unit * float(values[self._load]),
            models=tuple(
                self._model(number, values, float(prices[row]), dearest) for number, row in enumerate(demand)
            ),
            limits=tuple(name for row, name in limits.items() if prices[row] > _NEGLIGIBLE),
        )

    def _load_of_one_percent(self) -> float:
        """The load at which each model's cheapest runs take one GPU% in all.

        It is the programme's unit: the solver's tolerances are absolute, and so areas have prices near 1.
        """
        cheapest = (
            min(self._columns[index].area / self._columns[index].batch for index in of_one)
            for of_one in self._of_workload
        )
        rates_rps = (workload.rate_rps for workload in self._workloads)
        return 1 / sum(rate_rps * area for rate_rps, area in zip(rates_rps, cheapest, strict=True))

    def _worker(self, number: int, pool: int) -> int:
        return len(self._columns) + number * len(self._pools) + pool

    def _add_demand(self, number: int) -> int:
        """load * rate <= sum of batch * runs."""
        served = [(index, -self._columns[index].batch) for index in self._of_workload[number]]
        return self._programme.add([*served, (self._load, self._rate_rps(number))])

    def _rate_rps(self, number: int) -> float:
        """The workload's rate at one unit of load."""
        return self._load_unit * self._workloads[number].rate_rps

    def _add_areas(self) -> dict[int, str]:
        """Sum of area * runs <= 100 * GPUs, for each pool."""
        terms: list[list[tuple[int, float]]] = [[] for _ in self._pools]
        for index, column in enumerate(self._columns):
            terms[column.pool].append((index, column.area))
        return {
            self._programme.add(of_pool, WHOLE_GPU_PERCENT * pool.gpus): _on("GPU area", pool)
            for of_pool, pool in zip(terms, self._pools, strict=True)
        }

    def _add_lanes(self) -> Iterator[tuple[int, str]]:
        """Time on the lanes of one GPU% <= lanes * workers, where lanes are counted."""
        for index, column in enumerate(self._columns):
            workload = self._workloads[column.workload]
            lanes = (workload.lanes or {}).get(column.gpu_percent, inf)
            if isfinite(lanes):
                workers = self._worker(column.workload, column.pool), -lanes
                row = self._programme.add([(index, column.seconds), workers])
                name = f"{workload.name}'s lanes of {column.gpu_percent} GPU%"
                yield row, _on(name, self._pools[column.pool])

    def _add_memory(self) -> Iterator[tuple[int, str]]:
        """Sum of memory * workers <= the pool's, where it is known; area * runs <= 100 * workers."""
        if all(pool.memory_gib == inf for pool in self._pools):
            return
        for number, workload in enumerate(self._workloads):
            workers = [self._worker(number, pool) for pool in range(len(self._pools))]
            self._programme.add([(worker, -1) for worker in workers], -1)
            for pool, worker in enumerate(workers):
                area = [
                    (index, self._columns[index].area)
                    for index in self._of_workload[number]
                    if self._columns[index].pool == pool
                ]
                row = self._programme.add([*area, (worker, -WHOLE_GPU_PERCENT)])
                yield row, _on(f"{workload.name}'s workers", self._pools[pool])
        for pool, gpus in enumerate(self._pools):
            if isfinite(gpus.memory_gib):
                memory = [
                    (self._worker(number, pool), workload.memory_gib)
                    for number, workload in enumerate(self._workloads)
                ]
                yield self._programme.add(memory, gpus.gpus * gpus.memory_gib), _on("GPU memory", gpus)

    def _model(
        self, number: int, values: NDArray[np.float64], price: float, dearest_area: float
    ) -> ModelBound:
        columns = [(self._columns[index], float(values[index])) for index in self._of_workload[number]]
        return ModelBound(
            name=self._workloads[number].name,
            runs=tuple(
                RunMix(
                    self._pools[column.pool].product,
                    column.gpu_percent,
                    column.batch,
                    column.latency_ms,
                    runs_per_s,
                )
                for column, runs_per_s in columns
                if runs_per_s > _NEGLIGIBLE
            ),
            share=price * self._rate_rps(number),
            price_percent=price / dearest_area if dearest_area > _NEGLIGIBLE else 0.0,
        )


def _on(what: str, pool: GpuPool) -> str:
    return f"{what} on {pool.product}" if pool.product else what
