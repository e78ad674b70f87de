"""D-STACK's schedule in space and time (arXiv 2304.13541): EDF for what is due, then opportunistic fill.

A queue is *ripe* once there is nothing in waiting for a larger batch: it is full, or the items that its rate
promises would not save a tenth of its area in the time that is left. Ripe queues go in the order in which
what they have left gets dearer: EDF, less how long the cheapest run takes that still ends in time. Each gets
the cheapest run that ends in time, on any lane, now or when GPU% comes free; who has to wait has its place
kept, and the rest fills what that leaves. Runs also leave room, where they can, for what any one other model
may need that wants nothing yet. Beyond the paper (docs/adr/0017, 0031): GPU% and batch are chosen per run,
with a price on time; and whoever had to refuse more than its part goes a little before the others.

Where late items are refused, an overload sheds early and evenly (docs/adr/0032). Else they go behind all that
can be in time, and are not starved: after the scoreboard's window they go first if their partition had less
than its share.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from kneescale.core.dispatching.device import DeviceState
from kneescale.core.dispatching.partition import Partition, PartitionTerms
from kneescale.core.dispatching.policy import NOTHING_QUEUED, Run, Wait
from kneescale.core.dispatching.run_costs import Option
from kneescale.core.dispatching.timeline import Place, Room, Timeline
from kneescale.core.units import WHOLE_GPU_PERCENT

#: Up to this share of the device in use, no batch waits to grow, and faster lanes are worth their area.
CALM: Final = 0.3

#: From this share on, what only dear runs could answer is given up by who may miss it.
BUSY: Final = 0.9

#: More than this part of the device refused of late is an overload...
OVERLOAD: Final = 0.005
#: ...and from this on nothing is spent on dear runs, and it is borne first by those who had more than their
#: share.
LASTING_OVERLOAD: Final = 0.05

#: Late work of a partition that had its share leaves the others this many times what they used of late.
BURST_FACTOR: Final = 1.25

#: A run that leaves room for others starts at one of the first few moments at which GPU% comes free: later
#: ones are hardly ever the best.
MOST_STARTS: Final = 4

_FAR_NS: Final = 1 << 60

_ALL_GRANTED: Final = Wait("all GPU% is granted")


class Settings(NamedTuple):
    """What can be left out, to see what it is worth.

    It goes from process to process, which compiled frozen dataclasses cannot (docs/adr/0029).
    """

    #: Whether work that is not due may use what is free, and overtake what waits for GPU%.
    fill: bool = True
    #: Whether a partition that had more than its weighted share of the area goes behind in an overload.
    fairness: bool = True
    #: Whether batches may be larger than planned.
    free_batch: bool = True


#: The policy with nothing left out.
WHOLE: Final = Settings()


class SpatioTemporal:
    """EDF for ripe queues, places kept for those that find no room yet, and fair fill."""

    def __init__(self, settings: Settings = WHOLE) -> None:
        self._settings = settings

    def adapt(self, terms: PartitionTerms) -> PartitionTerms:
        """The terms as they are, unless batches are fixed."""
        if self._settings.free_batch or terms.surface is None:
            return terms
        return replace(terms, surface=terms.surface.restricted_to(terms.lanes, terms.batch))

    def refusals(self, device: DeviceState, now_ns: int) -> Iterator[tuple[Partition, int]]:
        """How many of the oldest items of which partitions to refuse: those that cannot be in time.

        In an overload also those too late for a cheap run: with dear ones a GPU answers fewer. Of a partition
        that may miss them, so already where the device is busy.
        """
        refused_share = device.scoreboard.refused_share(now_ns)
        is_busy = device.scoreboard.busy_share(now_ns) >= BUSY
        for partition in device.partitions.values():
            if partition.items and partition.ready_terms.refuses_late:
                needs_ns = _needs_ns(device, partition, refused_share, is_busy=is_busy)
                if now_ns > partition.end_by_ns - needs_ns and (count := _lost(partition, needs_ns, now_ns)):
                    yield partition, count

    def next_run(self, device: DeviceState, now_ns: int) -> Run | Wait:
        """The next run, or until when every queued partition waits, and what for."""
        queued = [partition for partition in device.partitions.values() if partition.items]
        if not queued:
            return NOTHING_QUEUED
        if all(device.free_percent < partition.least_percent for partition in queued):
            return _ALL_GRANTED
        return _Round(device, queued, now_ns, self._settings).decide()


def _needs_ns(device: DeviceState, partition: Partition, refused_share: float, *, is_busy: bool) -> int:
    """How long the shortest run takes that may still answer what waits."""
    costs = partition.ready_costs
    if refused_share > LASTING_OVERLOAD and not device.is_owed(partition):
        return costs.thrifty_ns[partition.items]
    if refused_share > OVERLOAD or (is_busy and partition.budget.left >= 1):
        return costs.cheap_ns[partition.items]
    return costs.fastest_ns


def _lost(partition: Partition, needs_ns: int, now_ns: int) -> int:
    lost = partition.count_lost(now_ns, needs_ns)
    if lost and partition.is_given_up and not any(partition.held_lanes.values()):
        # Only a run can tell that runs are not so slow any more: one at a time, late or not.
        return min(lost, partition.queue.count - 1)
    return lost


class _Round:
    """One decision over everything that waits."""

    def __init__(self, device: DeviceState, queued: list[Partition], now_ns: int, settings: Settings) -> None:
        self._device = device
        self._now_ns = now_ns
        self._settings = settings
        self._is_calm = device.scoreboard.busy_share(now_ns) <= CALM
        #: What can run: (when at the latest, or a rank behind all that can be in time; which).
        self._ripe: list[tuple[int, str, Partition]] = []
        #: What is queued and not ripe.
        self._growing: list[Partition] = []
        self._wake_ns = _FAR_NS
        self._first_to_ripen: str | None = None
        for partition in queued:
            self._sort_in(partition)
        self._ripe.sort()
        #: Made when one of them cannot have just what it wants: with the places that are kept.
        self._timeline: Timeline | None = None
        self._rooms: list[Room] = []
        self._idle: list[Partition] = []
        self._rooms_from_ns = _FAR_NS
        if self._ripe:
            self._idle = [partition for partition in device.partitions.values() if partition.is_idle]
            self._rooms_from_ns = self._first_room_ns()

    def decide(self) -> Run | Wait:
        """The first of the ripe that can start; those before it have their places kept."""
        for _, _, partition in self._ripe:
            option = self._start(partition)
            if option:
                return Run(partition.name, option.gpu_percent, option.batch)
            if not self._settings.fill:
                break
        if self._ripe:
            return Wait("a batch waits for GPU% to come free", self._until_ns(), self._ripe[0][2].name)
        return Wait("a batch grows", self._until_ns(), self._first_to_ripen)

    def _until_ns(self) -> int | None:
        """A place that is kept is another one once the run that it waits for is late."""
        end_ns = self._device.next_end_ns(self._now_ns) if self._ripe else None
        until_ns = self._wake_ns if end_ns is None else min(self._wake_ns, end_ns)
        return until_ns if until_ns < _FAR_NS else None

    def _sort_in(self, partition: Partition) -> None:
        now_ns = self._now_ns
        if partition.lost_ns < now_ns:
            partition.skip_late(now_ns)
            if partition.lost_ns < now_ns:
                self._ripe.append((self._late_rank(partition), partition.name, partition))
                return
        ripens_ns = self._ripens_ns(partition)
        if ripens_ns <= now_ns:
            last_ns = _FAR_NS * self._goes_behind(partition)
            self._ripe.append((partition.rank_ns(now_ns) + last_ns, partition.name, partition))
            return
        self._growing.append(partition)
        if ripens_ns < self._wake_ns:
            self._wake_ns = ripens_ns
            self._first_to_ripen = partition.name

    def _ripens_ns(self, partition: Partition) -> int:
        """From when on a queue is ripe, whatever arrives until then."""
        if self._settings.fill:
            return self._now_ns if self._is_calm else partition.ripe_ns
        is_full = partition.items >= partition.ready_terms.batch
        return self._now_ns if is_full else partition.due_ns

    def _goes_behind(self, partition: Partition) -> bool:
        """Whether an overload is to be borne by this partition first."""
        is_lasting = self._device.scoreboard.refused_share(self._now_ns) > LASTING_OVERLOAD
        return self._settings.fairness and is_lasting and not self._device.is_owed(partition)

    def _late_rank(self, partition: Partition) -> int:
        put_off_ns = self._device.scoreboard.window_ns
        if self._settings.fairness and not self._device.is_owed(partition):
            put_off_ns += _FAR_NS
        return partition.end_by_ns + put_off_ns

    def _first_room_ns(self) -> int:
        """When at the earliest one of the models that want nothing yet may need room."""
        first_ns = _FAR_NS
        for partition in self._idle:
            first_ns = min(first_ns, self._now_ns + partition.expected_slack_ns(self._now_ns))
        for partition in self._growing:
            first_ns = min(first_ns, partition.due_ns)
        return first_ns

    def _rooms_to_leave(self) -> list[Room]:
        """The room that each model will need whose batch grows, or that has nothing queued yet."""
        rooms = []
        for partition in self._growing:
            run = partition.cheap_run
            rooms.append(Room(partition.due_ns, partition.due_ns + run.latency_ns, run.gpu_percent))
        for partition in self._idle:
            run = partition.expected_run(self._now_ns)
            start_ns = self._now_ns + partition.expected_slack_ns(self._now_ns)
            rooms.append(Room(start_ns, start_ns + run.latency_ns, run.gpu_percent))
        return rooms

    def _start(self, partition: Partition) -> Option | None:
        """The run of this partition to start now; if it is to start later its place is kept."""
        is_late = partition.lost_ns < self._now_ns
        options = self._options(partition, is_late=is_late)
        within_ns = self._within_ns(partition, is_late=is_late)
        if self._timeline is None:
            best = next((option for option in options if option.latency_ns <= within_ns), None)
            if best is None or self._finds_room_now(best):
                return best
            self._timeline = Timeline(self._device, self._now_ns)
            self._rooms = self._rooms_to_leave()
        place = self._place(self._timeline, partition, options, self._now_ns + within_ns, is_late=is_late)
        if place is None:
            return None
        if place.start_ns == self._now_ns:
            return place.option
        self._keep(place, self._timeline, partition)
        return None

    def _options(self, partition: Partition, *, is_late: bool) -> tuple[Option, ...]:
        """The runs that this partition may have, cheapest first."""
        costs = partition.ready_costs
        options = (costs.calm_options if self._is_calm else costs.options)[partition.items]
        options = partition.open_to(options)
        if is_late and not self._device.is_owed(partition):
            left_percent = self._left_by_others(partition)
            options = tuple(option for option in options if option.gpu_percent <= left_percent)
        return options

    def _within_ns(self, partition: Partition, *, is_late: bool) -> int:
        """How long a run may take by its surface to end in time; what is late anyway has all the time."""
        if is_late:
            return _FAR_NS
        slack_ns = int((partition.end_by_ns - self._now_ns) / partition.slowness)
        return max(partition.ready_costs.fastest_ns, slack_ns)

    def _finds_room_now(self, option: Option) -> bool:
        """Whether a run can start that is over before anyone else may need room."""
        is_free = option.gpu_percent <= self._device.free_percent
        return is_free and self._now_ns + option.latency_ns <= self._rooms_from_ns

    def _keep(self, place: Place, timeline: Timeline, partition: Partition) -> None:
        """Keep its place from those that come after it; it wants another one once it is due."""
        timeline.reserve(place.start_ns, place.option.latency_ns, place.option.gpu_percent)
        if partition.due_ns > self._now_ns:
            self._wake_ns = min(self._wake_ns, partition.due_ns)

    def _left_by_others(self, partition: Partition) -> int:
        """The GPU% that late work of a partition which had its share may take: its overload stays its own.

        It is what the others did not use of late, with room for their bursts; and always one lane.
        """
        device = self._device
        whole_area = WHOLE_GPU_PERCENT * device.scoreboard.window_ns
        others_area = device.scoreboard.total_area - device.scoreboard.area(partition.name)
        held_percent = device.held_percent(partition.name)
        left_percent = int(WHOLE_GPU_PERCENT * (1 - BURST_FACTOR * others_area / whole_area)) - held_percent
        return max(left_percent, 0 if held_percent else partition.ready_costs.lanes[0])

    def _place(
        self,
        timeline: Timeline,
        partition: Partition,
        options: Sequence[Option],
        end_by_ns: int,
        *,
        is_late: bool,
    ) -> Place | None:
        slo_ns, most_starts = partition.ready_terms.slo_ns, 1 if is_late else MOST_STARTS
        place = timeline.best_place(options, end_by_ns, slo_ns, most_starts=most_starts, rooms=self._rooms)
        if place is None and (not is_late or not self._device.running):
            # What may arrive holds up nothing for ever, and nothing that would be late.
            place = timeline.best_place(options, end_by_ns, slo_ns)
        return place
