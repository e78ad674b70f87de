"""Which batches of zeros a worker on a GPU runs before it serves."""

import time
from collections.abc import Callable, Iterator
from itertools import chain, product, repeat, takewhile

from kneescale.core.surfaces.surface import doubling_batches
from kneescale_worker.lanes import Lanes

#: The lanes of one worker warm up in turn, and it has to be ready within ten minutes.
_LONGEST_S = 10.0


def warm_up_runs(
    lanes: Lanes, max_batch: int, now_s: Callable[[], float] = time.monotonic
) -> Iterator[tuple[int, int]]:
    """(GPU%, batch) of each run; once for each home of a lane, which takes its homes in turn.

    Doubling sizes come first, on every lane. The others follow, the smallest first and once in each home,
    while there is time: on a small lane all of them can take minutes.
    """
    until_s = now_s() + _LONGEST_S
    doubling = doubling_batches(max_batch)
    others = [batch for batch in range(1, max_batch + 1) if batch not in doubling]
    of_each_home = lanes.sms if lanes.homes > 1 else (max(lanes.sms),)
    in_time = takewhile(lambda _: now_s() < until_s, product(others, of_each_home))
    for batch, gpu_percent in chain(product(doubling, lanes.sms), in_time):
        yield from repeat((gpu_percent, batch), lanes.homes_of(gpu_percent))
