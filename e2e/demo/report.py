"""The demo's report: as a file, as a table, and its verdict."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from e2e.demo.samples import EMULATED_ITEMS

WANTED_ATTAINMENT = 0.99
#: What is to be known about the figures of each backend.
BACKENDS = {
    "cpu": "a device is a node's cores; its share is whole cores, by grant",
    "emulated": "kernel times are waited out, not computed",
}


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One model: what was asked of it, what it answered, and where it ran."""

    name: str
    slo_ms: int
    rate_rps: float
    sent: int
    answered: int
    correct: int
    within_slo: int
    attainment: float
    p50_ms: float | None
    p99_ms: float | None
    gpu_percent: int
    batch: int
    node: str
    device: str


@dataclass(frozen=True, slots=True)
class GrantCount:
    """The agents' grants under load, and the instants at which they passed 100 GPU% of a device."""

    total: int
    overcommitted: int


@dataclass(frozen=True, slots=True)
class Run:
    """One load under one schedule."""

    models: tuple[ModelReport, ...]
    grants: GrantCount


@dataclass(frozen=True, slots=True)
class Report:
    """The whole demo; `temporal` is the same load under plain temporal sharing (emulated backend)."""

    kubernetes: str
    cluster: str
    backend: str
    nodes: int
    duration_s: float
    run: Run
    temporal: Run | None = None

    def to_json(self) -> str:
        """Return the content of report.json."""
        content: dict[str, Any] = {
            "kubernetes": self.kubernetes,
            "cluster": self.cluster,
            "backend": self.backend,
            "nodes": self.nodes,
            "duration_s": self.duration_s,
            **asdict(self.run),
        }
        if self.backend == "emulated":
            content["emulated"] = True
            content["items_per_request"] = EMULATED_ITEMS
        if self.temporal is not None:
            content["temporal"] = asdict(self.temporal)
        return json.dumps(content, indent=2) + "\n"

    def to_text(self) -> str:
        """Return the tables for the terminal."""
        backend = f"backend {self.backend} ({BACKENDS[self.backend]})"
        parts = [f"{self.duration_s:g} s of load on {self.nodes} nodes, {backend}", table(self.run.models)]
        if self.temporal is not None:
            parts += [
                "",
                "The same load under plain temporal sharing (emulated)",
                table(self.temporal.models),
            ]
        return "\n".join(parts)

    def failures(self) -> list[str]:
        """Return a sentence for each thing that the demo promises and the run did not show."""
        found = [sentence for model in self.run.models for sentence in _broken_promises(model)]
        if self.run.grants.total == 0:
            found.append("the agents granted nothing")
        if self.run.grants.overcommitted:
            found.append(f"grants passed 100 GPU% of a device at {self.run.grants.overcommitted} instants")
        return found


def _broken_promises(model: ModelReport) -> list[str]:
    found = []
    if model.answered < model.sent:
        found.append(f"{model.name}: {model.sent - model.answered} of {model.sent} requests got no answer")
    if model.correct < model.answered:
        found.append(f"{model.name}: {model.answered - model.correct} of {model.answered} answers were wrong")
    if model.attainment < WANTED_ATTAINMENT:
        reached = f"{model.attainment:.1%} of its requests were answered within {model.slo_ms} ms"
        found.append(f"{model.name}: {reached}; the demo promises {WANTED_ATTAINMENT:.0%}")
    return found


_COLUMNS: Mapping[str, Callable[[ModelReport], str]] = {
    "MODEL": lambda m: m.name,
    "SLO": lambda m: f"{m.slo_ms} ms",
    "RATE": lambda m: f"{m.rate_rps:g}/s",
    "SENT": lambda m: str(m.sent),
    "ANSWERED": lambda m: str(m.answered),
    "CORRECT": lambda m: str(m.correct),
    "IN SLO": lambda m: f"{m.attainment:.1%}",
    "P50": lambda m: _ms(m.p50_ms),
    "P99": lambda m: _ms(m.p99_ms),
    "GPU%": lambda m: str(m.gpu_percent),
    "BATCH": lambda m: str(m.batch),
    "WHERE": lambda m: f"{m.node}/{m.device}",
}


def table(models: Sequence[ModelReport]) -> str:
    """Return a line per model under a line of headings."""
    rows = [list(_COLUMNS), *([cell(model) for cell in _COLUMNS.values()] for model in models)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _ms(latency_ms: float | None) -> str:
    return "-" if latency_ms is None else f"{latency_ms:.1f} ms"
