"""D-STACK's schedule in space and time (arXiv 2304.13541): EDF for what is due, then opportunistic fill.

A partition is *due* when its planned batch is full, or when its planned run must start for the oldest item to
be in time. Due runs go in EDF order, each on the lane that takes the least GPU area and still ends in time;
one that finds too little GPU% free has it reserved. Where nothing due is held up, waiting work fills what is
free, least weighted area over the last sessions first. Beyond the paper (docs/adr/0104): GPU% is chosen per
batch, any number of batches of a model run at once, and on a busy device a small batch waits to grow.

Late work goes behind what can still be in time, but is not starved: it fills with the rest, and once it has
waited out the scoreboard's window while its partition had less than its weighted share, it goes first.
"""

from kneescale.core.device import DeviceState
from kneescale.core.lookahead import FreePercent, Guard, limits
from kneescale.core.policy import Run, Wait
from kneescale.core.run_costs import Option
from kneescale.core.waiting import Waiting, weigh

#: On a device used to the share u, fill may cost up to 1 + FILL_PRICE * (1 - u) / u times the area per item
#: of the model's best batch: anything on an idle device, hardly anything but the best on a full one.
FILL_PRICE = 2.0


class SpatioTemporal:
    """EDF for due runs, reservations for those that do not fit yet, and fair fill."""

    def next_run(self, device: DeviceState, now_ns: int) -> Run | Wait:
        """The next run, or until when every queued partition waits, and what for."""
        queued = [partition for partition in device.partitions.values() if partition.can_run]
        if not queued:
            return Wait("nothing is queued")
        if device.free_percent < min(partition.ready_costs.lanes[0] for partition in queued):
            return Wait("all GPU% is granted")
        return _Round(device, now_ns, [weigh(partition, now_ns) for partition in queued]).decide()


class _Round:
    """One decision over everything that waits."""

    def __init__(self, device: DeviceState, now_ns: int, waiting: list[Waiting]) -> None:
        self._device = device
        self._now_ns = now_ns
        self._waiting = waiting
        self._free = FreePercent(device, now_ns)
        self._guards: list[Guard] = []

    def decide(self) -> Run | Wait:
        """Due work first, then fill."""
        due = sorted(filter(self._is_due, self._waiting), key=self._rank)
        rest = sorted((work for work in self._waiting if work not in due), key=self._weighted_area)
        return self._run_due(due) or self._fill(rest) or self._wait()

    def _is_due(self, work: Waiting) -> bool:
        return self._is_owed(work) if work.is_late else work.due_ns <= self._now_ns

    def _is_owed(self, work: Waiting) -> bool:
        """Whether the partition had less than its weighted share of the area that all had of late."""
        scoreboard = self._device.scoreboard
        partitions = self._device.partitions.values()
        total_weight = sum(partition.terms.weight for partition in partitions if partition.terms)
        fair_area = scoreboard.total_area * work.partition.ready_terms.weight / total_weight
        return scoreboard.area(work.partition.name) <= fair_area

    def _rank(self, work: Waiting) -> tuple[int, str]:
        """EDF; a late item's deadline is put off by the scoreboard's window."""
        put_off_ns = self._device.scoreboard.window_ns if work.is_late else 0
        return work.partition.deadline_ns + put_off_ns, work.partition.name

    def _weighted_area(self, work: Waiting) -> tuple[float, str]:
        area = self._device.scoreboard.area(work.partition.name)
        return area / work.partition.ready_terms.weight, work.partition.name

    def _run_due(self, due: list[Waiting]) -> Run | None:
        """The first due run that fits beside what is reserved for those before it."""
        for work in due:
            option = self._option(work)
            if option:
                return Run(work.partition.name, option.gpu_percent, option.batch)
            self._reserve(work, self._now_ns)
        return None

    def _fill(self, rest: list[Waiting]) -> Run | None:
        """The first of the rest that delays nobody and is worth its area now."""
        for work in rest:
            if not work.is_late:
                self._reserve(work, work.due_ns)
        for work in rest:
            option = self._option(work)
            if option and (work.is_late or self._is_worth(work, option)):
                return Run(work.partition.name, option.gpu_percent, option.batch)
        return None

    def _wait(self) -> Wait:
        until_ns = min((work.due_ns for work in self._waiting if work.due_ns > self._now_ns), default=None)
        return Wait("what is queued grows its batch, or leaves room for what is due", until_ns)

    def _option(self, work: Waiting) -> Option | None:
        """The cheapest run in time on what is free, and on what the others' guards leave."""
        caps = limits(self._guards, work.partition.name, self._now_ns)
        costs = work.partition.ready_costs
        return costs.cheapest(work.partition.queued, work.within_ns, self._device.free_percent, caps)

    def _reserve(self, work: Waiting, start_ns: int) -> None:
        name, need_percent = work.partition.name, work.partition.ready_terms.gpu_percent
        self._guards.append(self._free.guard(name, start_ns, need_percent))

    def _is_worth(self, work: Waiting, option: Option) -> bool:
        """Whether the run costs little enough per item for how busy the device is."""
        busy = self._device.scoreboard.busy_share
        best = work.partition.best_area_per_item
        return busy * (option.area_per_item - best) <= FILL_PRICE * (1 - busy) * best
