"""One batch on a simulated GPU."""

from typing import Final


class Run:
    """A batch of the tenant with number `model`, which asked for `gpu_percent` at `started_ns`.

    `first` is the number of its first request among all of the model's, `tag` the scheduler's own mark;
    `slowness` is how many times as long as the surface says it takes.
    """

    def __init__(
        self,
        model: int,
        batch: int,
        gpu_percent: int,
        started_ns: int,
        first: int = 0,
        tag: int = 0,
        slowness: float = 1.0,
        end_ns: int = 0,
    ) -> None:
        self.model: Final = model
        self.batch: Final = batch
        self.gpu_percent: Final = gpu_percent
        self.started_ns: Final = started_ns
        self.first: Final = first
        self.tag: Final = tag
        self.slowness: Final = slowness
        #: When it ends as things stand.
        self.end_ns = end_ns
        #: What it has now, how long all of it would take with that, and the part of its work that was left at
        #: `since_ns`, when that last changed.
        self.share_percent = float(gpu_percent)
        self.whole_ns = 0.0
        self.left = 1.0
        self.since_ns = started_ns
