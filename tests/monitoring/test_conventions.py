"""The metrics keep to Prometheus' conventions, and the pages to the tables that document them."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import pytest
from prometheus_client import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from kneescale.api.inference_model import PlacementState
from kneescale.controller.difference import Verb
from kneescale.core.backends import Backend
from kneescale.plan.finding import EventType
from kneescale.plan.outlook import ACCEPTED, PLACED, PROFILED, READY, SCALED, SLO_MET
from kneescale.telemetry.declared import LABELS, Kind, Metric
from kneescale_worker.metrics import Outcome
from tests.monitoring.pages import agent_page, operator_page, worker_page
from tests.monitoring.promtool import Promtool
from tools.monitoring.parts import PARTS, Part

ALL = [metric for part in PARTS for metric in part.metrics]
#: Base units and counts: https://prometheus.io/docs/practices/naming/.
UNITS = ("seconds", "ratio", "items")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {
        "operator": operator_page(),
        "agent": agent_page(tmp_path_factory.mktemp("agent")),
        "worker": worker_page(),
    }


@pytest.mark.parametrize(
    ("label", "values"),
    [
        ("backend", Backend),
        ("condition", (ACCEPTED, PROFILED, PLACED, READY, SLO_MET, SCALED)),
        ("outcome", Outcome),
        ("state", PlacementState),
        ("type", EventType),
        ("verb", Verb),
    ],
)
def test_a_label_is_documented_with_all_its_values(label: str, values: Iterable[str]) -> None:
    assert set(re.findall("`([^`]+)`", LABELS[label])) >= set(values)


def test_no_two_metrics_have_one_name() -> None:
    assert [name for name, times in Counter(metric.name for metric in ALL).items() if times > 1] == []


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_a_metric_is_named_and_explained_as_is_the_custom(metric: Metric) -> None:
    assert re.fullmatch(r"kneescale_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
    if metric.kind is Kind.HISTOGRAM:
        assert metric.name.endswith(UNITS)
        assert sorted(set(metric.buckets)) == list(metric.buckets)
    assert metric.help[0].isupper() or metric.help[0].isdigit()
    assert not metric.help.endswith(".")
    assert set(metric.labels) <= LABELS.keys()


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_page_shows_what_the_table_says_and_nothing_else(part: Part, pages: dict[str, str]) -> None:
    families = list(text_string_to_metric_families(pages[part.name]))
    assert {told(family) for family in families} == {declared(metric) for metric in part.metrics}
    labels = {metric.name.removesuffix("_total"): metric.labels for metric in part.metrics}
    for family in families:
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == set(labels[family.name])


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_promtool_has_nothing_against_a_page(part: Part, pages: dict[str, str], promtool: Promtool) -> None:
    assert promtool.check_metrics(pages[part.name]) == ""


def test_promtool_would_say_so(promtool: Promtool) -> None:
    page = "# TYPE kneescale_waits_milliseconds counter\nkneescale_waits_milliseconds 1\n"
    assert "_total" in promtool.check_metrics(page)


def test_buckets_of_a_part_of_the_slo_are_exact_at_the_slo() -> None:
    ratios: Sequence[Metric] = [m for m in ALL if m.kind is Kind.HISTOGRAM and m.name.endswith("_ratio")]
    assert ratios
    assert all(1 in metric.buckets for metric in ratios)


def told(family: Family) -> tuple[str, str, str]:
    return family.name, family.type, family.documentation


def declared(metric: Metric) -> tuple[str, str, str]:
    return metric.name.removesuffix("_total"), metric.kind.value, metric.help
