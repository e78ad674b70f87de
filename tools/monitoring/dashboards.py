"""Grafana's dashboards: a dashboard is its panels, a panel its queries; this lays them out as Grafana's JSON.

The model is Grafana's own, https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: Dashboards of this version and newer migrate by themselves (Grafana 10).
_SCHEMA_VERSION = 38
_COLUMNS, _HEIGHT = 24, 8
_DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Query:
    """One expression, and what its series are called."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph of some queries; `unit` as Grafana calls it."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    help: str = ""
    kind: str = "timeseries"


@dataclass(frozen=True, slots=True)
class Variable:
    """What a reader chooses: the values of a label of a metric."""

    name: str
    of: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One page of panels, `across` beside each other."""

    uid: str
    title: str
    variables: tuple[Variable, ...]
    panels: tuple[Panel, ...]
    across: int = 3


def render(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana loads it."""
    panels = [_panel(panel, index, dashboard.across) for index, panel in enumerate(dashboard.panels)]
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["kneescale"],
        "schemaVersion": _SCHEMA_VERSION,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_data_source(), *map(_variable, dashboard.variables)]},
        "annotations": {"list": []},
        "panels": panels,
    }


def _panel(panel: Panel, index: int, across: int) -> dict[str, Any]:
    width = _COLUMNS // across
    row, column = divmod(index, across)
    return {
        "id": index + 1,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": _DATA_SOURCE,
        "gridPos": {"x": column * width, "y": row * _HEIGHT, "w": width, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": _options(panel.kind),
        "targets": [_target(query, chr(ord("A") + at)) for at, query in enumerate(panel.queries)],
    }


def _options(kind: str) -> dict[str, Any]:
    if kind == "timeseries":
        return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}


def _target(query: Query, ref_id: str) -> dict[str, Any]:
    return {
        "refId": ref_id,
        "datasource": _DATA_SOURCE,
        "expr": query.expr,
        "legendFormat": query.legend,
        "range": True,
    }


def _data_source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _variable(variable: Variable) -> dict[str, Any]:
    query = f"label_values({variable.of}, {variable.name})"
    return {
        "name": variable.name,
        "label": variable.name.capitalize(),
        "type": "query",
        "datasource": _DATA_SOURCE,
        "query": {"query": query, "refId": variable.name},
        "refresh": 2,
        "sort": 1,
    }


def queries(dashboards: Sequence[Dashboard]) -> list[str]:
    """Every expression of the dashboards."""
    return [query.expr for each in dashboards for panel in each.panels for query in panel.queries]
