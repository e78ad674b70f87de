"""D-STACK's schedule in space and time (arXiv 2304.13541): EDF for what is due, then opportunistic fill.

A partition is *due* when its planned batch is full, or when its planned run must start for the oldest item to
be in time. Due runs go in EDF order, each on the lane that takes the least GPU area and still ends in time;
one that finds too little GPU% free has it reserved. Where nothing due is held up, waiting work fills what is
free, least weighted area over the last sessions first. Beyond the paper (docs/adr/0011): GPU% is chosen per
batch, any number of batches of a model run at once, and on a busy device a small batch waits to grow.

Late work goes behind what can still be in time, but is not starved: it fills with the rest, and once it has
waited out the scoreboard's window while its partition had less than its weighted share, it goes first.
"""

from kneescale.core.device import DeviceState
from kneescale.core.lookahead import FreePercent, Guard, limits
from kneescale.core.partition import Partition, PartitionTerms
from kneescale.core.policy import Run, Wait
from kneescale.core.run_costs import Option
from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.core.waiting import Waiting, can_make_way, tolerance_ns, weigh

#: Up to this share of the device in use, any batch may fill.
CALM = 0.7

#: Above, at a share u, fill may cost 1 + FILL_PRICE * (1 - u) / u times the area per item of the model's best
#: batch: the fuller the device, the closer to the best.
FILL_PRICE = 2.0

#: Late work of a partition that had its share leaves the others this many times what they used of late.
BURST_FACTOR = 1.25


class SpatioTemporal:
    """EDF for due runs, reservations for those that do not fit yet, and fair fill."""

    def adapt(self, terms: PartitionTerms) -> PartitionTerms:
        """The terms as they are."""
        return terms

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
        self._free = FreePercent(device, now_ns)
        due: list[Waiting] = []
        rest: list[Waiting] = []
        for work in waiting:
            (due if self._is_due(work) else rest).append(work)
        self._due = sorted(due, key=self._rank)
        self._rest = sorted(rest, key=self._weighted_area)
        #: What due runs that found no room have reserved.
        self._reserved: list[Guard] = []
        #: What is to be left for work that is not due yet.
        self._early = [self._guard(work.partition, work.due_ns) for work in rest if not work.is_late]
        #: What is to be left for items that may arrive at any moment.
        self._idle = [
            (partition, self._guard(partition, now_ns + tolerance_ns(partition)))
            for partition in device.partitions.values()
            if partition.is_idle
        ]

    def decide(self) -> Run | Wait:
        """Due work first, then fill."""
        return self._run_due() or self._fill() or self._wait()

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

    def _run_due(self) -> Run | None:
        """The first due run that fits beside what is reserved for those before it.

        One that would hold up work that is not due yet lets that go first where its deadline is earlier.
        """
        for work in self._due:
            run = self._run(work, self._expected_by(work)) or self._run_earlier(work) or self._run(work, [])
            if run:
                return run
            self._reserved.append(self._guard(work.partition, self._now_ns))
        return None

    def _run_earlier(self, due: Waiting) -> Run | None:
        deadline_ns = due.partition.deadline_ns
        earlier = (
            work for work in self._rest if not work.is_late and work.partition.deadline_ns < deadline_ns
        )
        return next(filter(None, (self._run(work, []) for work in sorted(earlier, key=self._rank))), None)

    def _fill(self) -> Run | None:
        """The first of the rest that delays nobody and is worth its area now."""
        for work in self._rest:
            option = self._late_fill(work) if work.is_late else self._early_fill(work)
            if option:
                return Run(work.partition.name, option.gpu_percent, option.batch)
        return None

    def _early_fill(self, work: Waiting) -> Option | None:
        option = self._option(work, self._expected_by(work), self._device.free_percent)
        return option if option and self._is_worth(work, option) else None

    def _late_fill(self, work: Waiting) -> Option | None:
        """A run on what the others leave; on an idle device what may arrive cannot hold it up for ever."""
        percent = self._left_by_others(work.partition)
        option = self._option(work, self._expected_by(work), percent)
        return option if option or self._device.running else self._option(work, self._early, percent)

    def _left_by_others(self, partition: Partition) -> int:
        """The free GPU% that a partition which had its share may take, so that an overload stays its own.

        It is what the others did not use of late, with room for their bursts; and always one lane.
        """
        scoreboard = self._device.scoreboard
        used = scoreboard.busy_share(self._now_ns) - scoreboard.share(partition.name)
        held_percent = self._device.held_percent(partition.name)
        least_percent = 0 if held_percent else partition.ready_costs.lanes[0]
        left_percent = int(WHOLE_GPU_PERCENT * (1 - BURST_FACTOR * used)) - held_percent
        return min(self._device.free_percent, max(left_percent, least_percent))

    def _expected_by(self, work: Waiting) -> list[Guard]:
        return self._early + [guard for other, guard in self._idle if can_make_way(work.partition, other)]

    def _wait(self) -> Wait:
        until_ns = min((work.due_ns for work in self._rest if not work.is_late), default=None)
        return Wait("what is queued grows its batch, or leaves room for what is due", until_ns)

    def _run(self, work: Waiting, guards: list[Guard]) -> Run | None:
        option = self._option(work, guards, self._device.free_percent)
        return Run(work.partition.name, option.gpu_percent, option.batch) if option else None

    def _option(self, work: Waiting, guards: list[Guard], free_percent: int) -> Option | None:
        """The cheapest run in time on what is free, and on what `guards` and the reserved leave."""
        caps = limits(self._reserved + guards, work.partition.name, self._now_ns)
        return work.partition.ready_costs.cheapest(work.partition.queued, work.within_ns, free_percent, caps)

    def _guard(self, partition: Partition, start_ns: int) -> Guard:
        return self._free.guard(partition.name, start_ns, partition.ready_terms.gpu_percent)

    def _is_worth(self, work: Waiting, option: Option) -> bool:
        """Whether the run costs little enough per item for how busy the device is."""
        busy = self._device.scoreboard.busy_share(self._now_ns)
        best = work.partition.best_area_per_item
        return busy <= CALM or busy * (option.area_per_item - best) <= FILL_PRICE * (1 - busy) * best
