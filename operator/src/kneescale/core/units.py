"""Units: time is integer nanoseconds inside the core; milliseconds appear only at the edges."""

from typing import Final

#: As people and profiles write times.
US_PER_MS: Final = 1_000
MS_PER_S: Final = 1_000
US_PER_S: Final = 1_000_000

NS_PER_US: Final = 1_000
NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000

#: Bytes, as memory is told.
MIB: Final = 1 << 20
GIB: Final = 1 << 30

#: Parts of a whole.
PERCENT: Final = 100
PERMILLE: Final = 1_000

#: A whole GPU, and the limit that no instant of a schedule may pass.
WHOLE_GPU_PERCENT: Final = 100


def ms_to_ns(ms: float) -> int:
    """Milliseconds to whole nanoseconds, rounded to nearest."""
    return round(ms * NS_PER_MS)


def ns_to_ms(ns: int) -> float:
    """Nanoseconds to milliseconds."""
    return ns / NS_PER_MS


def ceil_div(number: int, by: int) -> int:
    """The quotient, rounded up."""
    return -(-number // by)
