"""`simulate --autoscale` as it is used."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from kneescale.cli.main import main

PROFILES = """\
model,batch,gpu_percent,latency_ms
a,1,50,20
a,1,100,10
"""
SCENARIO = """\
profiles: p.csv
gpus: 3
models:
  - {name: first, profile: a, slo_ms: 100, rate: 80}
arrivals: step
"""
QUICK = ("--autoscale", "--duration-s", "60", "--warmup-s", "5", "--start-s", "4")


def write_trace(scenario: Path, times_s: Sequence[float]) -> None:
    (scenario.parent / "t.csv").write_text(
        "time_s,model\n" + "".join(f"{time_s},first\n" for time_s in times_s)
    )
    without_rate = SCENARIO.replace(", rate: 80", "")
    scenario.write_text(without_rate.replace("arrivals: step", "arrivals: {trace: t.csv}"))


def test_json_has_the_figures_and_how_they_came_about(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", str(scenario), *QUICK, "--output", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["rates_rps"]["first"][10:30:10] == [20, 80]
    assert said["autoscalers"].keys() == {"kneescale", "hpa-cpu", "hpa-rate", "knative", "oracle"}
    ours, oracle = said["autoscalers"]["kneescale"], said["autoscalers"]["oracle"]
    assert ours["attainment_otherwise"] > 0.98
    assert ours["over_oracle"] == pytest.approx(ours["reserved_gpus"] / oracle["reserved_gpus"])
    assert 0 < ours["used_gpus"] < ours["reserved_gpus"]
    assert oracle["over_oracle"] == 1
    assert ours["models"]["first"]["sent"] == pytest.approx(20 * 35 + 80 * 20, rel=0.1)
    assert {len(ours["over_time"][name]) for name in ("replicas", "reserved_gpus", "used_gpus")} == {60}
    assert len(ours["over_time"]["p99_of_slo_by_10_s"]) == 6


def test_the_table_has_a_line_for_each_that_was_asked(
    scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = ("--plot", str(tmp_path / "shown.png"))
    assert main(["simulate", str(scenario), *QUICK, "--autoscaler", "kneescale,knative", *plot]) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.split()[:2] == ["AUTOSCALER", "ATTAINMENT"]
    assert [line.split()[0] for line in lines] == ["kneescale", "knative"]
    assert (tmp_path / "shown.png").stat().st_size > 0


def test_more_load_takes_more(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reserved = []
    for load in ("0.5", "1"):
        asked = (*QUICK, "--autoscaler", "kneescale", "--load", load, "--output", "json")
        assert main(["simulate", str(scenario), *asked]) == 0
        ours = json.loads(capsys.readouterr().out)["autoscalers"]["kneescale"]
        assert ours["over_oracle"] is None
        reserved.append(ours["reserved_gpus"])
    assert 1.5 < reserved[1] / reserved[0] < 2.5


def test_a_wrong_name_is_explained(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["simulate", str(scenario), "--autoscale", "--autoscaler", "keda"])
    assert "no autoscaler 'keda': use some of kneescale, hpa-cpu" in capsys.readouterr().err


@pytest.mark.parametrize("asked", [("--policy", "triton"), ("--lanes", "3")])
def test_policies_are_another_comparison(
    asked: tuple[str, str], scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", str(scenario), *QUICK, *asked]) == 2
    assert "choose with --autoscaler" in capsys.readouterr().err


def test_more_requests_than_can_be_simulated_are_one_line(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", str(scenario), "--autoscale", "--load", "1e6"]) == 2
    assert "4.8e+09 requests, in 60 s at load 1e+06, are too many" in capsys.readouterr().err


@pytest.mark.parametrize("alone", [("--autoscaler", "knative"), ("--start-s", "3")])
def test_what_only_autoscalers_have_is_not_ignored(
    alone: tuple[str, str], scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", str(scenario), *alone]) == 2
    assert capsys.readouterr().err == f"kneescale: {alone[0]} goes with --autoscale only\n"


def test_a_model_that_no_gpu_can_serve_is_one_line(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario.write_text(SCENARIO.replace("slo_ms: 100", "slo_ms: 2"))
    assert main(["simulate", str(scenario), *QUICK]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"kneescale: {scenario}: model first: ")


def test_too_short_a_run_is_one_line(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", str(scenario), "--autoscale", "--duration-s", "6"]) == 2
    assert capsys.readouterr().err == (
        "kneescale: a run of 6 s is too short to scale anything in: at least 20 s\n"
    )


def test_a_trace_is_as_much_shorter_as_load_is_larger(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_trace(scenario, [number / 20 for number in range(1200)])
    ours = ("--autoscale", "--autoscaler", "kneescale", "--output", "json")
    assert main(["simulate", str(scenario), *ours, "--load", "2.5", "--warmup-s", "45"]) == 0
    model = json.loads(capsys.readouterr().out)["autoscalers"]["kneescale"]["models"]["first"]
    # Of the trace's 60 s, 45 s are no longer than 18 s of 24 s.
    assert model["sent"] == 300
    assert main(["simulate", str(scenario), *ours, "--load", "4"]) == 2
    assert "a run of 14.9875 s is too short" in capsys.readouterr().err


def test_a_warmup_that_ends_within_the_last_second_leaves_figures(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = ("--autoscale", "--duration-s", "20", "--warmup-s", "19.7", "--autoscaler", "kneescale")
    assert main(["simulate", str(scenario), *late, "--output", "json"]) == 0
    ours = json.loads(capsys.readouterr().out)["autoscalers"]["kneescale"]
    assert 0 < ours["used_gpus"] <= 3
    assert 0 < ours["reserved_gpus"] <= 3


def test_where_no_request_counts_is_one_line(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_trace(scenario, [1.0, 2.0])
    assert main(["simulate", str(scenario), "--autoscale", "--duration-s", "30"]) == 2
    fault = "no request comes from 5 to 30 s: make --warmup-s shorter"
    assert capsys.readouterr().err == f"kneescale: {scenario}: {fault}\n"
