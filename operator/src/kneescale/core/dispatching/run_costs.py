"""What each possible run of a model takes, laid out for the dispatcher's speed."""

import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import ms_to_ns

#: A run that takes the whole SLO may cost this part more than its area says: the GPU% of a short run is back
#: sooner, and its requests are answered sooner.
PRICE_OF_TIME: Final = 0.2

#: The same on a calm device, which has area to spare.
CALM_PRICE_OF_TIME: Final = 2.0

#: Runs are about as cheap as each other up to this much above the least area per item.
CHEAP: Final = 0.1

#: In an overload that lasts, this much above it is the most that is spent.
THRIFTY: Final = 0.03

#: Whatever its price, no run is asked for that takes more of an item's time than this part: an item that has
#: just come would be as good as late, and an overload that refuses everything goes on by itself.
MOST_ASKED: Final = 0.9

#: A batch waits for more items where they save this part of its area.
WORTH_WAITING: Final = 0.1


class Option(NamedTuple):
    """One way to run: its price (GPU% x ns per item, dearer the longer it takes), lane, batch and latency."""

    price: float
    gpu_percent: int
    batch: int
    latency_ns: int

    @property
    def area_per_item(self) -> float:
        """GPU% x ns that each item costs."""
        return self.gpu_percent * self.latency_ns / self.batch


class Growth(NamedTuple):
    """With `more` items, a run of `latency_ns` would be worth having waited for them."""

    more: int
    latency_ns: int


class RunCosts:
    """The latency of every batch on every lane in ns, and for each number of items the runs worth choosing.

    `options[n]` are the runs of at most n items, cheapest first; none of them has another beside it that is
    as cheap, as short and as narrow. `calm_options[n]` are those for a device with area to spare.
    `longest_ns` is how long a run may take for an item that has just come: the SLO, less what is kept of it.
    """

    def __init__(
        self, surface: LatencySurface, lanes: Sequence[int], longest_ns: int, *, is_pool: bool = False
    ) -> None:
        self.lanes = tuple(sorted(set(lanes)))
        self.max_batch = surface.batches[-1]
        self.longest_ns = longest_ns
        self._is_pool = is_pool
        self._rows = {
            lane: [0, *(ms_to_ns(surface.latency_ms(lane, batch)) for batch in range(1, self.max_batch + 1))]
            for lane in self.lanes
        }
        #: How long one item takes on the largest lane: nothing is faster.
        self.fastest_ns = self._rows[self.lanes[-1]][1]
        self.options = self._by_items(PRICE_OF_TIME)
        self.calm_options = self._by_items(CALM_PRICE_OF_TIME)
        self._shortest = [_ShortestByArea(options) for options in self.options]
        #: By number of items: the least area per item.
        least = self.least_areas = [0.0, *map(self._least_area, self.options[1:])]
        #: By number of items: the runs that are left one after the other as time runs out, each the shortest
        #: of those about as cheap as it.
        self.steps = [tuple(_steps(options, area)) for options, area in zip(self.options, least, strict=True)]
        #: By number of items: how long the shortest run takes that is cheap; and that costs hardly more than
        #: the cheapest. In an overload nothing else is spent on them.
        self.cheap_ns = [self._asked_ns(items, (1 + CHEAP) * area) for items, area in enumerate(least)]
        self.thrifty_ns = [self._asked_ns(items, (1 + THRIFTY) * area) for items, area in enumerate(least)]
        #: By number of items: what it may be worth to wait for.
        self.growths = [tuple(self._growths(items, area)) for items, area in enumerate(least)]

    def latency_ns(self, gpu_percent: int, batch: int) -> int:
        """How long `batch` items (1 to `max_batch`) take on the lane of `gpu_percent`."""
        return self._rows[gpu_percent][batch]

    def best(self, items: int, within_ns: int) -> Option | None:
        """The run of up to `items` items at the least price that ends in time, on any lane."""
        options = self.options[min(items, self.max_batch)]
        return next((option for option in options if option.latency_ns <= within_ns), None)

    def _by_items(self, price_of_time: float) -> list[tuple[Option, ...]]:
        options: list[tuple[Option, ...]] = [()]
        for items in range(1, self.max_batch + 1):
            runs = [*options[-1], *self._full(items, price_of_time)]
            options.append(_useful(runs, self.lanes, of_each_lane=self._is_pool))
        return options

    def _full(self, items: int, price_of_time: float) -> Iterator[Option]:
        """Every run of just so many items."""
        for lane in self.lanes:
            latency_ns = self._rows[lane][items]
            price = lane * latency_ns / items * (1 + price_of_time * latency_ns / self.longest_ns)
            yield Option(price, lane, items, latency_ns)

    def _least_area(self, options: Iterable[Option]) -> float:
        """The least area per item of those that end in time, or of all if none does."""
        in_time = [option.area_per_item for option in options if option.latency_ns <= self.longest_ns]
        return min(in_time or [option.area_per_item for option in options])

    def _asked_ns(self, items: int, most_area: float) -> int:
        most_ns = max(self.fastest_ns, int(MOST_ASKED * self.longest_ns))
        return min(most_ns, self._shortest[items].latency_ns(most_area) or most_ns)

    def _growths(self, items: int, least_area: float) -> Iterator[Growth]:
        if not items:
            return
        shortest_ns = self.longest_ns
        for more in range(1, self.max_batch - items + 1):
            latency_ns = self._shortest[items + more].latency_ns((1 - WORTH_WAITING) * least_area)
            if latency_ns and latency_ns < shortest_ns:
                yield Growth(more, latency_ns)
                shortest_ns = latency_ns


class _ShortestByArea:
    """How long the shortest of some runs takes that costs at most so much area per item."""

    def __init__(self, options: Iterable[Option]) -> None:
        self._areas: list[float] = []
        self._latencies_ns: list[int] = []
        for area, latency_ns in sorted([(option.area_per_item, option.latency_ns) for option in options]):
            if not self._latencies_ns or latency_ns < self._latencies_ns[-1]:
                self._areas.append(area)
                self._latencies_ns.append(latency_ns)

    def latency_ns(self, most_area: float) -> int:
        """0 where all cost more."""
        count = bisect_right(self._areas, most_area)
        return self._latencies_ns[count - 1] if count else 0


def _useful(options: Iterable[Option], lanes: Sequence[int], *, of_each_lane: bool) -> tuple[Option, ...]:
    """Those beside which no other is as cheap, as short and as narrow, cheapest first.

    `of_each_lane` counts only others of the same lane, where any other may be taken.
    """
    places = {lane: place for place, lane in enumerate(lanes)}
    #: By place of a lane: how long the shortest takes of those cheaper that are as narrow.
    shortest_ns = [sys.maxsize] * len(lanes)
    useful = []
    for option in sorted(options):
        first = places[option.gpu_percent]
        if option.latency_ns >= shortest_ns[first]:
            continue
        useful.append(option)
        for place in range(first, first + 1 if of_each_lane else len(lanes)):
            # Never more than on the lanes below it, so that all that follow are as short.
            if shortest_ns[place] <= option.latency_ns:
                break
            shortest_ns[place] = option.latency_ns
    return tuple(useful)


def _steps(options: Iterable[Option], least_area: float) -> Iterator[Option]:
    """The shortest of those about as cheap as the cheapest, then of what is left below it, and so on."""
    while run := _shortest(options, (1 + CHEAP) * least_area):
        yield run
        options = [option for option in options if option.latency_ns < run.latency_ns]
        least_area = min((option.area_per_item for option in options), default=0.0)


def _shortest(options: Iterable[Option], most_area: float) -> Option | None:
    """The shortest option of at most that area per item."""
    cheap = [option for option in options if option.area_per_item <= most_area]
    return min(cheap, key=attrgetter("latency_ns"), default=None)
