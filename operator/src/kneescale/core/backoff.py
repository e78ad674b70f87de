"""How long to wait before something that failed is tried again."""

from dataclasses import dataclass

#: Enough to pass any `longest_s`, and few enough for a float: some things fail for ever.
_MOST_DOUBLINGS = 60


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits of `first_s` after one failure, of twice as long after each more in a row, up to `longest_s`."""

    first_s: float
    longest_s: float

    def wait_s(self, failures: int) -> float:
        """How long to wait after so many failures in a row, from 1."""
        return min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
