"""Batches that fail one after the other: faulty requests fail some, a worker that is of no use all."""

from kneescale.core.units import NS_PER_S
from kneescale_worker.torchscript import one_line

#: So many in a row, and for so long: a client whose requests are all faulty is hardly alone for that time.
_MOST = 30
_LONGEST_NS = 30 * NS_PER_S


class FailureRow:
    """The batches that failed since the last one that did not, whatever lane they ran on."""

    def __init__(self) -> None:
        self._count = 0
        self._since_ns = 0

    def end(self) -> None:
        """A batch did not fail."""
        self._count = 0

    def add(self, error: Exception, now_ns: int) -> str | None:
        """A batch failed: why only a new process is of use, None where this one may be."""
        if not self._count:
            self._since_ns = now_ns
        self._count += 1
        took_ns = now_ns - self._since_ns
        if self._count < _MOST or took_ns < _LONGEST_NS:
            return None
        took = f"{self._count} batches in a row failed in {took_ns // NS_PER_S} s"
        return f"{took}, the last with: {one_line(error)}"
