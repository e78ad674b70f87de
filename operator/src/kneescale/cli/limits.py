"""How large what is asked for can be, in files and options, and the types of options that hold to it."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from reprlib import repr as short_repr
from typing import TypeVar

Number = TypeVar("Number", int, float)

#: As in an InferenceModel.
SLO_MS = (0.001, 60_000)
#: Of one batch: more than one ever took, less than what the planner's sums bear.
LATENCY_MS = (0.001, 600_000)
#: More than any fleet has, and no less than the planner's sums bear.
RATE_RPS = (1e-6, 1e7)


def within(kind: Callable[[str], Number], text: str, lowest: float, highest: float) -> Number:
    """The `int` or `float` that a text is.

    Raises ValueError, saying what it must be, where it is none from `lowest` to `highest`.
    """
    with suppress(ValueError):
        value = kind(text)
        if lowest <= value <= highest:
            return value
    if kind is int:
        raise ValueError(f"must be a whole number from {lowest} to {highest}")
    raise ValueError(f"must be a number from {lowest:g} to {highest:g}")


def number(lowest: float, highest: float) -> Callable[[str], float]:
    """The type of an option that is a number from `lowest` to `highest`."""
    return partial(_option, float, lowest, highest)


def whole(lowest: int, highest: int) -> Callable[[str], int]:
    """The type of an option that is a whole number from `lowest` to `highest`."""
    return partial(_option, int, lowest, highest)


def _option(kind: Callable[[str], Number], lowest: float, highest: float, text: str) -> Number:
    try:
        return within(kind, text, lowest, highest)
    except ValueError as error:
        raise ArgumentTypeError(f"{error}, not {short_repr(text)}") from error
