"""Waiting on a condition, with a deadline."""

import time
from collections.abc import Callable

POLL_S = 0.1


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float) -> None:
    """Return once `condition` holds.

    Raises TimeoutError naming `what` if it does not hold within `timeout_s` seconds.
    """
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{what}: not so after {timeout_s:.0f} s")
        time.sleep(POLL_S)
