"""The series and labels that PromQL expressions speak of, held against those that there are."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kneescale.telemetry.declared import Kind, Metric
from tools.monitoring.parts import PARTS

#: What every target has, by the relabelling that the scrape configuration and the PodMonitors do.
TARGET_LABELS = frozenset({"instance", "job", "namespace", "node", "pod"})
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_SERIES = re.compile(rf"\b((?:\w+:)?kneescale_{_NAME}|up)\b(?:\{{([^}}]*)\}})?")
_GROUPINGS = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")

Known = Mapping[str, frozenset[str]]


def exported() -> dict[str, frozenset[str]]:
    """Each series that a part exports, with its labels."""
    known = {"up": TARGET_LABELS}
    for part in PARTS:
        for metric in part.metrics:
            known |= {name: labels | TARGET_LABELS for name, labels in _series_of(metric).items()}
    return known


def _series_of(metric: Metric) -> dict[str, frozenset[str]]:
    """The labels of each series that the metric is told by, those of its target apart."""
    labels = frozenset(metric.labels)
    if metric.kind is not Kind.HISTOGRAM:
        return {metric.name: labels}
    parts = {f"{metric.name}_{end}": labels for end in ("count", "sum")}
    return {**parts, f"{metric.name}_bucket": labels | {"le"}}


def recorded(rules: Any, known: Known) -> dict[str, frozenset[str]]:  # noqa: ANN401
    """Each series that the rules record, with the labels by which they sum it."""
    found: dict[str, frozenset[str]] = {}
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "record" in rule:
                by = re.findall(r"\bby\s*\(([^)]*)\)", rule["expr"])
                found[rule["record"]] = frozenset(_split(by[0])) - {"le"}
    return {**known, **found}


def mistakes(expression: str, known: Known) -> Iterator[str]:
    """What an expression asks for that is not there."""
    labels: set[str] = set()
    for name, selector in _SERIES.findall(expression):
        if name not in known:
            yield f"no series {name}"
            continue
        labels |= known[name]
        for label in re.findall(rf"({_NAME})\s*(?:=~|!~|!=|=)", selector):
            if label not in known[name]:
                yield f"{name} has no label {label}"
    for grouping in _GROUPINGS.findall(expression):
        for label in _split(grouping):
            if label not in labels:
                yield f"nothing has the label {label}"


def _split(labels: str) -> list[str]:
    return [label.strip() for label in labels.split(",") if label.strip()]
