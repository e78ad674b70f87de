"""One batch on a simulated GPU."""

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Run:
    """A batch of the tenant with number `model`, which asked for `gpu_percent` at `started_ns`.

    `first` is the number of its first request among all of the model's, `tag` the scheduler's own mark.
    """

    model: int
    batch: int
    gpu_percent: int
    started_ns: int
    first: int = 0
    tag: int = 0
    #: How many times as long as the surface says it takes.
    slowness: float = 1.0
    #: When it ends as things stand.
    end_ns: int = 0
    #: What it has now, how long all of it would take with that, and the part of its work that was left at
    #: `since_ns`, when that last changed.
    share_percent: float = 0.0
    whole_ns: float = 0.0
    left: float = 1.0
    since_ns: int = 0
