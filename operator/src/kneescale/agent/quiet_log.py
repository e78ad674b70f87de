"""What is logged of a device's partitions; what workers can bring about at will, only now and then."""

import logging
import time
from collections.abc import Callable, Container, Mapping

from kneescale.core.units import NS_PER_S

#: What a worker can bring about as often as it likes is logged no more than once in so long.
_SAY_AGAIN_NS = 10 * NS_PER_S
#: An overload is over, and the next one logged anew, once nothing was refused for so long.
_QUIET_NS = 60 * NS_PER_S


class QuietLog:
    """Logs lines about partitions, whose names come first in them; `about` gives the fields of one."""

    def __init__(self, logger: logging.Logger, about: Callable[[str], Mapping[str, str]]) -> None:
        self._logger = logger
        self._about = about
        #: When each line that `say` logs was logged last of each partition.
        self._said_ns: dict[tuple[str, str], int] = {}
        #: When each partition last refused requests.
        self._refused_ns: dict[str, int] = {}

    def warn(self, name: str, line: str, *more: object) -> None:
        """Log a warning about a partition."""
        self._logger.warning(line, name, *more, extra=self._about(name))

    def say(self, level: int, name: str, line: str, *more: object) -> None:
        """Log a line about a partition, unless the same was logged of it a moment ago."""
        now_ns = time.monotonic_ns()
        if now_ns - self._said_ns.get((name, line), -_SAY_AGAIN_NS) >= _SAY_AGAIN_NS:
            self._said_ns[name, line] = now_ns
            self._logger.log(level, line, name, *more, extra=self._about(name))

    def note_refusal(self, name: str, now_ns: int) -> None:
        """Log the first refusal of a partition in a while; how many there are, the metrics count."""
        if now_ns - self._refused_ns.get(name, -_QUIET_NS) >= _QUIET_NS:
            self.warn(name, "partition %s refuses requests that cannot be in time")
        self._refused_ns[name] = now_ns

    def forget_all_but(self, names: Container[str]) -> None:
        """Keep what was logged of these partitions alone."""
        self._said_ns = {said: ns for said, ns in self._said_ns.items() if said[0] in names}
        self._refused_ns = {name: ns for name, ns in self._refused_ns.items() if name in names}
