"""A check: one assumption of the code, where it comes from, and how to look whether it holds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.gpu_check.bench import Bench


class Verdict(StrEnum):
    """How a check ended."""

    HOLDS = "holds"
    FAILS = "fails"
    #: It could not be looked at here; the finding says why.
    SKIPPED = "skipped"
    #: There is nothing to hold: a figure that nobody knows yet.
    MEASURED = "measured"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen, in words and figures."""

    verdict: Verdict
    seen: str


@dataclass(frozen=True, slots=True)
class Check:
    """One assumption. `run` raises whatever it likes: that is a finding too."""

    name: str
    assumption: str
    source: str
    run: "Callable[[Bench], Finding]"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A check and what came of it."""

    check: Check
    finding: Finding


def run_all(checks: Sequence[Check], bench: "Bench", say: Callable[[Outcome], None]) -> list[Outcome]:
    """Run one check after the other, each to its end whatever the ones before saw."""
    outcomes = []
    for check in checks:
        outcomes.append(Outcome(check, _found(check, bench)))
        say(outcomes[-1])
    return outcomes


def held(condition: bool, seen: str) -> Finding:
    """Whether an assumption held."""
    return Finding(Verdict.HOLDS if condition else Verdict.FAILS, seen)


def _found(check: Check, bench: "Bench") -> Finding:
    try:
        return check.run(bench)
    except Exception as error:  # noqa: BLE001  (the report must come, and says what broke)
        return Finding(Verdict.FAILS, f"{type(error).__name__}: {error}")
