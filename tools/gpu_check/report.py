"""The report of the checks, as text for a person and as JSON to send back."""

import json
from collections.abc import Mapping, Sequence

from tools.gpu_check.check import Outcome, Verdict

_VERDICT_WIDTH = max(len(verdict) for verdict in Verdict)


def line(outcome: Outcome) -> str:
    """One check in two lines."""
    check, finding = outcome.check, outcome.finding
    verdict = f"{finding.verdict:{_VERDICT_WIDTH}}"
    return f"{verdict} {check.name}: {check.assumption}\n{' ' * len(verdict)} {finding.seen}"


def summary(outcomes: Sequence[Outcome]) -> str:
    """How many ended how."""
    counts = {verdict: sum(o.finding.verdict is verdict for o in outcomes) for verdict in Verdict}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def to_json(gpu: Mapping[str, str], outcomes: Sequence[Outcome]) -> str:
    """Everything, with each assumption and its source."""
    document = {
        "gpu": dict(gpu),
        "checks": [
            {
                "name": outcome.check.name,
                "assumption": outcome.check.assumption,
                "source": outcome.check.source,
                "verdict": outcome.finding.verdict,
                "seen": outcome.finding.seen,
            }
            for outcome in outcomes
        ],
    }
    return json.dumps(document, indent=1) + "\n"
