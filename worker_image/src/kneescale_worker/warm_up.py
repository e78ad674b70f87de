"""Which batches of zeros a worker on a GPU runs before it serves, and at which sizes it serves then."""

import heapq
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise, product, repeat, takewhile

from kneescale.core.surfaces.surface import doubling_batches
from kneescale_worker.lanes import Lanes

#: The lanes of one worker warm up in turn, and it has to be ready within ten minutes.
_LONGEST_S = 10.0


def warm_up_runs(
    lanes: Lanes, max_batch: int, *, every_lane: bool, now_s: Callable[[], float] = time.monotonic
) -> Iterator[tuple[int, int]]:
    """(GPU%, batch) of each run; once for each home of a lane, which takes its homes in turn.

    Doubling sizes come first, and on every lane where that is asked for. The others follow, once in each
    home, while there is time: on a small lane all of them can take minutes.
    """
    until_s = now_s() + _LONGEST_S
    of_each_home = lanes.sms if lanes.homes > 1 else (max(lanes.sms),)
    first = product(doubling_batches(max_batch), lanes.sms if every_lane else of_each_home)
    in_time = takewhile(lambda _: now_s() < until_s, sizes_between(max_batch))
    for batch, gpu_percent in chain(first, ((size, lane) for size in in_time for lane in of_each_home)):
        yield from repeat((gpu_percent, batch), lanes.homes_of(gpu_percent))


def sizes_between(max_batch: int) -> Iterator[int]:
    """All sizes but the doubling ones; next comes always what takes most from the worst padding so far.

    A batch runs at the next size that is warm: 9 items as 16 until 12 is.
    """
    gaps = [_gap(*ends) for ends in pairwise(doubling_batches(max_batch))]
    heapq.heapify(gaps)
    while gaps:
        _, below, above = heapq.heappop(gaps)
        if above - below < 2:
            continue
        middle = (below + above) // 2
        yield middle
        heapq.heappush(gaps, _gap(below, middle))
        heapq.heappush(gaps, _gap(middle, above))


def _gap(below: int, above: int) -> tuple[float, int, int]:
    """What lies between two warm sizes, the one with the worst padding first in a heap."""
    return (-above / (below + 1), below, above)


def size_to_run(items: int, warm: Sequence[int]) -> int:
    """The smallest warm size (ascending) that holds so many items; their number itself where none does."""
    at = bisect_left(warm, items)
    return warm[at] if at < len(warm) else items
