"""`profile`: measures f(p, b) where it tells most, fits the rest, and leaves both as termination message."""

import logging
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from math import ceil
from typing import Any, Protocol

import numpy as np

from kneescale.core.errors import InvalidInputError
from kneescale.core.surfaces.gpu_products import gpu_product
from kneescale.core.surfaces.prediction import TORCHSCRIPT, predicted_to_measured
from kneescale.core.surfaces.profiling_choice import MeasuringCost, Run, SequentialDesign
from kneescale.core.surfaces.surface import Point, doubling_batches
from kneescale.core.units import NS_PER_S, NS_PER_US, PERCENT, PERMILLE, US_PER_MS, ms_to_ns, ns_to_ms
from kneescale.core.wire import Progress
from kneescale.core.worker_message import EXPECTED_ERROR_PERCENT, FITTED, POINTS, PREDICTION_ERROR_PERCENT
from kneescale_worker.errors import AgentError, LoadError
from kneescale_worker.executor import Executor, LocalExecutor
from kneescale_worker.lanes import served_sms
from kneescale_worker.probes import ProbeClient
from kneescale_worker.settings import Settings
from kneescale_worker.tensors import Array
from kneescale_worker.torchscript import filled, one_line

_log = logging.getLogger(__name__)
#: Nine in ten runs are to be known to this standard deviation: noise is half of it (ADR 14).
_TOLERANCE = 0.08
#: A grid of so few runs is measured as a whole: there is little time to save.
_SMALL_GRID = 12
#: Fewer say nothing of a surface, whatever the time: its formula has as many parameters.
_FEWEST_POINTS = 4
#: Larger batches than the smallest are left out where they would take longer than this.
_LONGEST_BATCH_MS = 2000.0
_FEWEST_REPEATS = 3
_MOST_REPEATS = 25
#: Beside its batches, a run takes the waits for its probes on a device that serves others.
_COST = MeasuringCost(set_up_s=1, batches=_MOST_REPEATS + 1)
#: What is as good as not known at all is told as this.
_MOST_PERMILLE = 10_000


@dataclass(frozen=True, slots=True)
class Profile:
    """The points that were measured, and the rest of the grid as they tell it, with its error (0.08: 8 %).

    `prediction_error`: how far off the measured points are predicted from the model's kernels, at the median;
    None where that cannot be done.
    """

    measured: Sequence[Point]
    fitted: Sequence[Point]
    expected_error: float
    prediction_error: float | None

    def message(self) -> dict[str, Any]:
        """As the operator reads it: points as [GPU%, batch, latency in us]."""
        message: dict[str, Any] = {POINTS: triples(self.measured)}
        if self.fitted:
            message[FITTED] = triples(self.fitted)
            message[EXPECTED_ERROR_PERCENT] = ceil(PERCENT * self.expected_error)
        if self.prediction_error is not None:
            message[PREDICTION_ERROR_PERCENT] = round(PERCENT * self.prediction_error)
        return message


def lanes_to_measure(lanes: Sequence[int]) -> list[int]:
    """The lanes, without those less than 20 % above the one before: the surface flattens towards the top.

    The largest lane always stays.
    """
    kept: list[int] = []
    for lane in sorted(lanes):
        if not kept or 5 * lane >= 6 * kept[-1]:
            kept.append(lane)
    return kept if kept[-1] == max(lanes) else [*kept, max(lanes)]


class Prober(Protocol):
    """Gets runs of a batch alone on the device, and says how far the profile is; see ProbeClient."""

    async def probe(
        self, gpu_percent: int, batch: int, lasts_ns: int, run: Callable[[], object]
    ) -> int | None:
        """The time of `run` in ns; None where the device leaves no time for it."""

    def tell(self, progress: Progress) -> None:
        """Say how far the profile is."""


class Profiler:
    """Measures a grid's runs, the most telling first, until the rest is known or the time is up."""

    def __init__(self, client: Prober, executor: Executor, grid: Sequence[Run], budget_ns: int) -> None:
        self._client = client
        self._executor = executor
        self._grid = grid
        self._deadline_ns = time.monotonic_ns() + budget_ns
        self._design = SequentialDesign(grid, _COST, longest_ms=_LONGEST_BATCH_MS)
        self._is_short_of_time = False

    async def measure(self) -> SequentialDesign:
        """Measure as many runs as it takes; all that they tell.

        Raises AgentError, also where the device left too little time, and LoadError where the model fails.
        """
        while not self._is_enough() and (run := self._design.next_run()):
            await self._measure_run(run)
            self._client.tell(self._progress())
        count = len(self._design.points)
        if count < min(_FEWEST_POINTS, len(self._grid)):
            raise AgentError(
                f"models that serve left time for {count} of {len(self._grid)} runs, which tell too little"
            )
        return self._design

    def _is_enough(self) -> bool:
        if self._left_ns() <= 0:
            return self._is_short_of_time or len(self._design.points) >= _FEWEST_POINTS
        return len(self._grid) > _SMALL_GRID and self._design.expected_error() <= _TOLERANCE

    async def _measure_run(self, run: Run) -> None:
        times_ns = await self._times_ns(run)
        if not times_ns:
            _log.info("%d GPU%%, batch %d: the device leaves no time for it", *run)
            self._is_short_of_time = True
            self._design.leave_out(run)
            return
        latency_ms = ns_to_ms(max(NS_PER_US, round(statistics.median(times_ns))))
        self._design.add(Point(*run, latency_ms))
        _log.info("%d GPU%%, batch %d: %.2f ms", *run, latency_ms)

    async def _times_ns(self, run: Run) -> list[int]:
        """As many repeats as fit into the run's share of the time, after one to warm up; none without it."""
        # What they hold hardly matters to the time a DNN takes.
        inputs = filled(self._executor.metadata, run[1], 1)
        until_ns = time.monotonic_ns() + self._left_ns() // (len(self._grid) - len(self._design.points))
        lasts_ns = ms_to_ns(self._design.foretold_ms(run))
        times_ns: list[int] = []
        for repeat in range(_MOST_REPEATS + 1):
            if repeat > _FEWEST_REPEATS and time.monotonic_ns() >= until_ns:
                break
            took_ns = await self._client.probe(*run, lasts_ns, lambda: self._run(run, inputs))
            if took_ns is None:
                break
            times_ns.append(took_ns)
            lasts_ns = max(times_ns)
        return times_ns[1:]

    def _run(self, run: Run, inputs: Sequence[Array]) -> None:
        lane, batch = run
        try:
            self._executor.run(lane, inputs)
        except Exception as error:
            raise LoadError(
                f"the model does not run on the lane of {lane} GPU%, batch {batch}: {one_line(error)}"
            ) from error

    def _progress(self) -> Progress:
        error_permille = min(round(PERMILLE * self._design.expected_error()), _MOST_PERMILLE)
        return Progress(len(self._design.points), len(self._grid), error_permille)

    def _left_ns(self) -> int:
        return self._deadline_ns - time.monotonic_ns()


async def profile(settings: Settings, executor: LocalExecutor) -> Profile:
    """Load the model and measure its surface on this device's lanes.

    Raises LoadError or AgentError.
    """
    executor.load()
    executor.warm_up()
    client = ProbeClient(settings.socket)
    grid = tuple(product(lanes_to_measure(settings.lanes), doubling_batches(settings.max_batch)))
    design = await Profiler(client, executor, grid, settings.profile_seconds * NS_PER_S).measure()
    served = partial(as_served, design, settings, executor.lane_sms)
    measured, fitted, error = served(design.points), served(design.fitted_points()), design.expected_error()
    _log.info("%d runs measured, %d fitted: known to %.1f %%", len(measured), len(fitted), PERCENT * error)
    return Profile(measured, fitted, error, _prediction_error(executor, settings.product, measured))


def as_served(
    design: SequentialDesign, settings: Settings, lane_sms: Mapping[int, int], points: Iterable[Point]
) -> list[Point]:
    """The points as lanes of the settings' tier will serve them, which have other SMs than those measured.

    A green context of 10 GPU% has 16 of an H200's 132 SMs, an MPS client of 10 GPU% has 12.
    """
    return [_as_served(design, settings, lane_sms, point) for point in points]


def _as_served(
    design: SequentialDesign, settings: Settings, lane_sms: Mapping[int, int], point: Point
) -> Point:
    whole, measured = settings.sm_count, lane_sms.get(point.gpu_percent)
    served = whole and served_sms(settings.tier, point.gpu_percent, whole)
    if not measured or not served:
        return point
    run = (point.gpu_percent, point.batch)
    slowdown = design.slowdown(run, PERCENT * measured / whole, PERCENT * served / whole)
    return replace(point, latency_ms=point.latency_ms * slowdown)


def _prediction_error(executor: LocalExecutor, product_name: str, measured: Sequence[Point]) -> float | None:
    """How far off the prediction from the model's kernels and the device's datasheet is, at the median."""
    try:
        gpu, kernels = gpu_product(product_name), executor.kernels()
    except (InvalidInputError, LoadError) as error:
        _log.info("there is no prediction to compare with: %s", error)
        return None
    except Exception:  # noqa: BLE001  (whatever a model raises here, it ran before, and the profile is done)
        _log.exception("there is no prediction to compare with: the model's kernels cannot be read")
        return None
    off = np.abs(predicted_to_measured(kernels, gpu, TORCHSCRIPT, measured) - 1)
    _log.info("predicted from its kernels: %.1f %% off at the median", PERCENT * np.median(off))
    return float(np.median(off))


def triples(points: Iterable[Point]) -> list[tuple[int, int, int]]:
    """Points as the operator reads them: GPU%, batch, latency in us."""
    return [(point.gpu_percent, point.batch, max(1, round(US_PER_MS * point.latency_ms))) for point in points]
