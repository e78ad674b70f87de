"""How large what is asked for can be, in files and options, and the types of options that hold to it."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from contextlib import suppress
from reprlib import repr as short_repr

#: As in an InferenceModel.
SLO_MS = (0.001, 60_000)
#: More than any fleet has, and no less than the planner's sums bear.
RATE_RPS = (1e-6, 1e7)


def number(lowest: float, highest: float) -> Callable[[str], float]:
    """The type of an option that is a number from `lowest` to `highest`."""

    def parsed(text: str) -> float:
        with suppress(ValueError):
            value = float(text)
            if lowest <= value <= highest:
                return value
        raise ArgumentTypeError(f"must be a number from {lowest:g} to {highest:g}, not {short_repr(text)}")

    return parsed


def whole(lowest: int, highest: int) -> Callable[[str], int]:
    """The type of an option that is a whole number from `lowest` to `highest`."""

    def parsed(text: str) -> int:
        with suppress(ValueError):
            value = int(text)
            if lowest <= value <= highest:
                return value
        raise ArgumentTypeError(f"must be a whole number from {lowest} to {highest}, not {short_repr(text)}")

    return parsed
