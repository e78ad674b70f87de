"""Grafana's dashboards: what they ask for is there, and they are what Grafana loads.

No Grafana could be had here, so nobody has looked at them: their schema is checked instead.
"""

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.expressions import exported, mistakes, recorded
from tests.monitoring.promtool import Promtool
from tools.monitoring.dashboards import queries, render
from tools.monitoring.generated import RULES
from tools.monitoring.pages import DASHBOARDS

KNOWN = recorded(yaml.safe_load(RULES.read_text()), exported())
EXPRESSIONS = queries(DASHBOARDS)


@pytest.fixture(params=DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    return render(request.param)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_panel_asks_only_for_what_there_is(expression: str) -> None:
    assert list(mistakes(expression, KNOWN)) == []


def test_a_panel_that_asked_for_more_would_be_told() -> None:
    wrong = 'sum by (colour) (rate(kneescale_grants_total{shape="round"}[5m])) + kneescale_misses_total'
    assert list(mistakes(wrong, KNOWN)) == [
        "kneescale_grants_total has no label shape",
        "no series kneescale_misses_total",
        "nothing has the label colour",
    ]


def test_prometheus_can_read_every_expression(promtool: Promtool, tmp_path: Path) -> None:
    filled = [text.replace("$__rate_interval", "5m").replace("$", "") for text in EXPRESSIONS]
    assert promtool.check_expressions(filled, tmp_path) == ""
    assert promtool.check_expressions(["sum by (model kneescale_grants_total"], tmp_path) != ""


def test_legends_name_labels_that_the_series_have() -> None:
    for expression, legend in _legends():
        for label in re.findall(r"\{\{(\w+)\}\}", legend):
            known = [
                labels for name, labels in KNOWN.items() if re.search(rf"{re.escape(name)}\b", expression)
            ]
            assert any(label in labels for labels in known), f"{legend} of {expression}"


def test_every_exported_part_is_shown_somewhere() -> None:
    shown = " ".join(EXPRESSIONS)
    for topic in (
        "grant_wait",
        "dropped",
        "slo_attainment",
        "idle_gpu",
        "overruns",
        "plan_seconds",
        "desired_replicas",
    ):
        assert topic in shown


def test_panels_lie_beside_each_other_and_not_on_top(dashboard: dict[str, Any]) -> None:
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    assert not any(_overlap(one, other) for one, other in combinations(places, 2))


def test_a_dashboard_has_what_grafana_needs(dashboard: dict[str, Any]) -> None:
    assert re.fullmatch("kneescale-[a-z]+", dashboard["uid"])
    assert dashboard["schemaVersion"] >= 38
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    for panel in dashboard["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["targets"]
        for target in panel["targets"]:
            used = set(re.findall(r"\$\{?(\w+)", target["expr"])) - {"__rate_interval"}
            assert used <= variables


def _legends() -> Iterator[tuple[str, str]]:
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for query in panel.queries:
                yield query.expr, query.legend


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not (beside or below)
