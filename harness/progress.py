"""Progress on a terminal or in a log: one line when a step begins, one when it ends."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO


@dataclass
class Progress:
    """Reports steps of a long job; each line begins with the time since the job began."""

    stream: TextIO = field(default_factory=lambda: sys.stdout)
    _began_s: float = field(default_factory=time.monotonic)

    @contextmanager
    def step(self, what: str, about_s: float, log: Path | None = None) -> Iterator[None]:
        """Announce a step of about `about_s` seconds; say how it ended, and where its log is if it failed."""
        began_s = time.monotonic()
        self.note(f"{what} (about {_duration(about_s)})")
        try:
            yield
        except BaseException:
            where = f"; log: {log}" if log is not None else ""
            self.note(f"{what}: FAILED after {_duration(time.monotonic() - began_s)}{where}")
            raise
        self.note(f"{what}: done in {_duration(time.monotonic() - began_s)}")

    def note(self, text: str) -> None:
        """Write one line."""
        minutes, seconds = divmod(int(time.monotonic() - self._began_s), 60)
        self.stream.write(f"[{minutes:2d}:{seconds:02d}] {text}\n")
        self.stream.flush()


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"
