"""Units: time is integer nanoseconds inside the core; milliseconds appear only at the edges."""

#: As people and profiles write times.
US_PER_MS = 1_000
MS_PER_S = 1_000
US_PER_S = 1_000_000

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

#: Bytes, as memory is told.
MIB = 1 << 20
GIB = 1 << 30

#: Parts of a whole.
PERCENT = 100
PERMILLE = 1_000

#: A whole GPU, and the limit that no instant of a schedule may pass.
WHOLE_GPU_PERCENT = 100


def ms_to_ns(ms: float) -> int:
    """Milliseconds to whole nanoseconds, rounded to nearest."""
    return round(ms * NS_PER_MS)


def ns_to_ms(ns: int) -> float:
    """Nanoseconds to milliseconds."""
    return ns / NS_PER_MS


def ceil_div(number: int, by: int) -> int:
    """The quotient, rounded up."""
    return -(-number // by)
