"""The report's file, table and verdict."""

import json
from dataclasses import replace

import pytest

from e2e.demo.report import GrantCount, ModelReport, Report, Run, table

CAT = ModelReport(
    name="cat",
    slo_ms=250,
    rate_rps=5,
    sent=300,
    answered=300,
    correct=300,
    within_slo=299,
    attainment=0.9967,
    p50_ms=30.1,
    p99_ms=99.9,
    gpu_percent=100,
    batch=1,
    node="node1",
    device="cpu0",
)
REPORT = Report(
    kubernetes="v1.36.3",
    cluster="local",
    backend="cpu",
    nodes=2,
    duration_s=60,
    run=Run((CAT,), GrantCount(total=300, overcommitted=0)),
)


def with_model(model: ModelReport) -> Report:
    return replace(REPORT, run=replace(REPORT.run, models=(model,)))


def test_the_file_has_exactly_the_promised_fields() -> None:
    content = json.loads(REPORT.to_json())
    fields = ["kubernetes", "cluster", "backend", "nodes", "duration_s", "models", "grants"]
    assert list(content) == fields
    figures = ["sent", "answered", "correct", "within_slo", "attainment", "p50_ms", "p99_ms"]
    place = ["gpu_percent", "batch", "node", "device"]
    assert list(content["models"][0]) == ["name", "slo_ms", "rate_rps", *figures, *place]
    assert content["grants"] == {"total": 300, "overcommitted": 0}


def test_an_emulated_report_says_so_everywhere_and_holds_the_comparison() -> None:
    report = replace(REPORT, backend="emulated", temporal=replace(REPORT.run, models=(CAT, CAT)))
    content = json.loads(report.to_json())
    assert content["emulated"] is True
    assert len(content["temporal"]["models"]) == 2
    assert report.to_text().count("emulated") >= 2


def test_a_good_run_fails_nothing() -> None:
    assert REPORT.failures() == []


@pytest.mark.parametrize(
    ("report", "says"),
    [
        (with_model(replace(CAT, answered=298, correct=298)), "cat: 2 of 300 requests got no answer"),
        (with_model(replace(CAT, correct=299)), "cat: 1 of 300 answers were wrong"),
        (
            with_model(replace(CAT, attainment=0.9867)),
            "cat: 98.7% of its requests were answered within 250 ms",
        ),
        (replace(REPORT, run=replace(REPORT.run, grants=GrantCount(0, 0))), "the agents granted nothing"),
        (
            replace(REPORT, run=replace(REPORT.run, grants=GrantCount(9, 2))),
            "grants passed 100 GPU% of a device at 2 instants",
        ),
    ],
)
def test_each_broken_promise_is_named_with_its_numbers(report: Report, says: str) -> None:
    (failure,) = report.failures()
    assert failure.startswith(says)


def test_the_table_has_a_line_per_model_and_shows_a_missing_percentile() -> None:
    lines = table([CAT, replace(CAT, p99_ms=None)]).splitlines()
    assert len(lines) == 3
    assert "99.7%" in lines[1]
    assert lines[2].split()[-4] == "-"
