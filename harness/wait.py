"""Waiting on a condition, with a deadline."""

import time
from collections.abc import Callable

#: Between two looks at what costs a process to see.
POLL_S = 0.1


def let_pass(seconds: float) -> None:
    """Return once so much time is over, while something else goes on; at once where it is 0 or less."""
    due_s = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= due_s, "time passes", 2 * max(1.0, seconds))


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float, *, poll_s: float = POLL_S) -> None:
    """Return once `condition` holds, which is looked at every `poll_s` seconds.

    Raises TimeoutError naming `what` if it does not hold within `timeout_s` seconds.
    """
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{what}: not so after {timeout_s:.0f} s")
        time.sleep(poll_s)
