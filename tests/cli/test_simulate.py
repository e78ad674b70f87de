import json
import re
from pathlib import Path
from typing import Any

import pytest

from kneescale.cli import autoscale as cli_autoscale
from kneescale.cli import simulate
from kneescale.cli.main import main
from kneescale.cli.timeline import Panel, draw_timeline, styles
from kneescale.core.units import NS_PER_S
from kneescale.sim.spans import Span

# a: 8 items in 10 ms at 20 GPU%, so 0.025 GPU% x s an item; b: 4 items in 10 ms at 50 GPU%, so 0.125.
PROFILES = """\
model,batch,gpu_percent,latency_ms
a,1,20,5
a,1,100,2
a,8,20,10
a,8,100,4
b,1,50,6
b,1,100,4
b,4,50,10
b,4,100,8
"""
SCENARIO = """\
profiles: p.csv
models:
  - {name: first, profile: a, slo_ms: 50, rate: 800}
  - {name: second, profile: b, slo_ms: 50, rate: 160}
"""
QUICK = ("--duration-s", "4", "--warmup-s", "1")


def simulated(scenario: Path, capsys: pytest.CaptureFixture[str], *options: str) -> Any:  # noqa: ANN401
    assert main(["simulate", str(scenario), *QUICK, "--output", "json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_says_what_became_of_each_model(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = simulated(scenario, capsys, "--policy", "dstack,clockwork")
    # 800 x 0.025 + 160 x 0.125 = 40 of 100 GPU%.
    assert said["bound"]["load"] == pytest.approx(2.5)
    assert said["policies"].keys() == {"dstack", "clockwork"}
    dstack = said["policies"]["dstack"]
    assert dstack["attainment"] > 0.99
    assert dstack["utilization"] == pytest.approx(0.4, abs=0.04)
    assert dstack["fairness"] == pytest.approx(1, abs=0.02)
    assert dstack["dropped"] == 0
    first = dstack["models"]["first"]
    assert first.keys() == {"sent", "goodput_rps", "attainment", "p50_ms", "p99_ms", "mean_batch"}
    assert first["sent"] == pytest.approx(3 * 800, rel=0.1)
    assert first["goodput_rps"] == pytest.approx(800, rel=0.1)
    assert 2 <= first["p50_ms"] <= first["p99_ms"] <= 50
    assert 1 <= first["mean_batch"] <= 8


def test_the_same_seed_gives_the_same_result(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noisy = ("--noise", "0.1", "--seed", "7")
    assert simulated(scenario, capsys, *noisy) == simulated(scenario, capsys, *noisy)
    assert simulated(scenario, capsys, *noisy) != simulated(scenario, capsys, "--noise", "0.1", "--seed", "8")


def test_as_many_lanes_can_be_asked_for_as_of_a_plan(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [simulated(scenario, capsys, "--lanes", lanes) for lanes in ("1", "4")]
    one, four = (of_one["policies"]["dstack"]["models"]["first"]["mean_batch"] for of_one in said)
    assert one != four


@pytest.mark.parametrize("policy", ["dstack", "dstack-no-fill"])
def test_what_leaves_out_a_part_of_the_product_has_the_same_lanes(
    policy: str, scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [
        simulated(scenario, capsys, "--policy", policy, "--lanes", lanes)["policies"][policy]
        for lanes in ("free", "1", "paper")
    ]
    assert len({of_one["models"]["first"]["mean_batch"] for of_one in said}) == 3
    assert "lane_by" in said[2]["parameters"]


@pytest.mark.parametrize("command", ["simulate", "capacity"])
def test_lanes_that_no_policy_takes_are_refused(
    command: str, scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(scenario), *QUICK, "--policy", "triton,dstack-2-lanes", "--lanes", "3"]) == 2
    assert capsys.readouterr().err.startswith("kneescale: --lanes goes with --policy dstack, dstack-no-refus")


def test_too_much_load_is_seen(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = simulated(scenario, capsys, "--load", "4")
    assert said["policies"]["dstack"]["attainment"] < 0.7
    assert said["policies"]["dstack"]["utilization"] <= 1


def test_two_gpus_carry_what_one_cannot(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario.write_text(SCENARIO + "gpus: 2\n")
    said = simulated(scenario, capsys, "--load", "3")
    assert said["bound"]["load"] == pytest.approx(5)
    assert said["policies"]["dstack"]["attainment"] > 0.99
    assert said["policies"]["dstack"]["utilization"] == pytest.approx(0.6, abs=0.06)


def test_idle_gpus_are_not_used(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario.write_text(SCENARIO + "gpus: 4\n")
    assert simulated(scenario, capsys)["policies"]["dstack"]["utilization"] == pytest.approx(0.1, abs=0.01)


def test_a_trace_is_replayed_faster_under_more_load(
    scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{number / 100},{'first' if number % 2 else 'second'}" for number in range(800)]
    (tmp_path / "trace.csv").write_text("\n".join(["time_s,model", *rows]))
    scenario.write_text(SCENARIO.replace(", rate: 800", "").replace(", rate: 160", ""))
    with scenario.open("a") as file:
        file.write("arrivals: {trace: trace.csv}\n")
    # Far beyond what can be carried it is over before a warm-up of so many seconds.
    slow, fast, burst = (
        simulated(scenario, capsys, "--load", load)["policies"]["dstack"]["models"]["first"]
        for load in ("1", "2", "10000")
    )
    assert [slow["sent"], fast["sent"], burst["sent"]] == [150, 150, 150]
    assert fast["goodput_rps"] == pytest.approx(2 * slow["goodput_rps"])
    assert burst["attainment"] < 0.9


def test_the_last_requests_of_a_trace_count(
    scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "trace.csv").write_text("time_s,model\n" + 10 * "3,first\n3,second\n")
    text = SCENARIO.replace(", rate: 800", "").replace(", rate: 160", "")
    scenario.write_text(f"{text}arrivals: {{trace: trace.csv}}\n")
    assert main(["simulate", str(scenario), "--output", "json"]) == 0
    models = json.loads(capsys.readouterr().out)["policies"]["dstack"]["models"]
    assert [model["sent"] for model in models.values()] == [10, 10]


def test_where_no_request_counts_there_is_no_attainment(
    scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "trace.csv").write_text("time_s,model\n0,first\n0.1,second\n")
    scenario.write_text(SCENARIO.replace(", rate: 800", "").replace(", rate: 160", ""))
    with scenario.open("a") as file:
        file.write("arrivals: {trace: trace.csv}\n")
    said = simulated(scenario, capsys)["policies"]["dstack"]
    assert (said["attainment"], said["models"]["first"]["attainment"]) == (None, None)


def test_the_table_has_a_line_for_each_policy_and_model(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", str(scenario), *QUICK]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "load 1 of at most 2.5"
    assert lines[3].split()[:2] == ["dstack", "1"]
    assert [line.split()[:2] for line in lines[-2:]] == [["dstack", "first"], ["dstack", "second"]]


def test_a_picture_takes_more_models_than_there_are_colours(
    scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = "".join(f"  - {{name: m{i}, profile: a, slo_ms: 50, rate: 50}}\n" for i in range(12))
    scenario.write_text(f"profiles: p.csv\nmodels:\n{models}")
    picture = tmp_path / "t.svg"
    said = simulated(scenario, capsys, "--plot", str(picture))
    assert len(said["policies"]["dstack"]["models"]) == 12
    assert picture.stat().st_size > 0


def test_the_detail_of_a_picture_is_no_longer_than_the_run(tmp_path: Path) -> None:
    picture = tmp_path / "t.svg"
    draw_timeline([Panel("one", [], 0, 4.0)], "all", 100.0, picture)
    labels = set(re.findall("<!-- (.*?) -->", picture.read_text()))
    assert labels >= {"0", "4"} or labels >= {"0.0", "4.0"}
    assert not any(label.startswith("\N{MINUS SIGN}") for label in labels)


def test_no_two_of_many_models_look_alike_in_a_picture() -> None:
    looks = styles([f"m{i}" for i in range(70)])
    assert len({tuple(sorted(look.items())) for look in looks.values()}) == 70
    assert styles([f"m{i}" for i in range(200)]).keys() == {f"m{i}" for i in range(200)}


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("x", "a picture's name ends in one of ."),
        ("x.xyz", "a picture's name ends in one of ."),
        ("folder", "Is a directory"),
        ("folder.png", "Is a directory"),
        ("nowhere/x.png", "No such file or directory"),
    ],
)
@pytest.mark.parametrize("autoscale", [(), ("--autoscale",)], ids=["policies", "autoscalers"])
def test_a_picture_that_cannot_be_is_refused_before_anything_is_simulated(
    scenario: Path,
    name: str,
    fault: str,
    autoscale: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = scenario.parent
    for there in ("folder", "folder.png"):
        (folder / there).mkdir()
    before = sorted(folder.rglob("*"))
    for module in (simulate, cli_autoscale):
        monkeypatch.setattr(module, "run_all", lambda jobs: pytest.fail("simulated"))
    assert main(["simulate", str(scenario), *QUICK, *autoscale, "--plot", str(folder / name)]) == 2
    assert capsys.readouterr().err.startswith(f"kneescale: {folder / name}: {fault}")
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    "autoscale", [(), ("--autoscale", "--duration-s", "30")], ids=["policies", "autoscalers"]
)
def test_a_picture_that_fails_after_all_costs_no_result(
    scenario: Path, autoscale: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    picture = scenario.with_name("full.png")
    picture.symlink_to("/dev/full")
    assert main(["simulate", str(scenario), *QUICK, *autoscale, "--plot", str(picture)]) == 2
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == f"kneescale: {picture}: No space left on device"
    assert "ATTAINMENT" in said.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--policy", "dstakc"), "no policy 'dstakc': use all, or some of dstack,"),
        *(
            (("--load", load), f"must be a number from 0.001 to 1e+06, not '{load}'")
            for load in ("0", "much", "1e300")
        ),
        *((("--noise", noise), "must be a number from 0 to 10, not") for noise in ("-1", "1e300")),
        *((("--seed", seed), "must be a whole number from 0 to") for seed in ("-1", "1.5", 400 * "9")),
        *((("--duration-s", time_s), "must be a number from 0.001 to 1e+06") for time_s in ("1e12", "1e300")),
    ],
)
def test_a_wrong_option_is_explained(
    scenario: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["simulate", str(scenario), *options])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["simulate", "capacity"])
def test_more_requests_than_can_be_simulated_are_one_line(
    command: str, scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(scenario), "--duration-s", "1e6"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    requests, load = {"simulate": ("9.6e+08", "1"), "capacity": ("2.4e+09", "2.5")}[command]
    assert line == (
        f"kneescale: {scenario}: {requests} requests, in 1e+06 s at load {load}, are too many to simulate: "
        "at most 5e+07"
    )


def test_a_short_run_is_warmed_up_for_a_quarter_of_it(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", str(scenario), "--duration-s", "4", "--output", "json"]) == 0
    by_default = json.loads(capsys.readouterr().out)
    assert by_default == simulated(scenario, capsys)


def test_a_warmup_that_leaves_nothing_is_one_line(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", str(scenario), "--duration-s", "5", "--warmup-s", "5"]) == 2
    assert capsys.readouterr().err == "kneescale: --warmup-s 5 leaves nothing of 5 s: make it shorter\n"


@pytest.mark.parametrize("command", [["simulate"], ["capacity"]])
def test_a_model_that_no_gpu_can_serve_is_one_line(
    command: list[str], scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario.write_text(SCENARIO.replace("slo_ms: 50", "slo_ms: 1", 1))
    assert main([*command, str(scenario)]) == 2
    assert capsys.readouterr().err == (
        f"kneescale: {scenario}: model first: no run on these GPUs ends in 1 ms; the fastest takes 2 ms\n"
    )


@pytest.mark.parametrize("command", ["simulate", "capacity"])
def test_each_lane_takes_the_models_memory(
    command: str, scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gpus = "gpus: [{name: x, product: V100, memory_gib: %d}]\n"
    text = SCENARIO.replace("slo_ms", "memory_gib: 6, slo_ms") + gpus
    profiles = "".join(f"V100,{line}\n" for line in PROFILES.splitlines()[1:])
    (scenario.parent / "p.csv").write_text(f"product,{PROFILES.splitlines()[0]}\n{profiles}")
    for gib, expected in ((47, 2), (48, 0)):
        scenario.write_text(text % gib)
        assert main([command, str(scenario), *QUICK, "--lanes", "4"]) == expected
    scenario.write_text(text % 12)
    assert main([command, str(scenario), *QUICK]) == 0


def test_more_schedules_than_fit_in_a_picture_are_refused_before_anything_is_simulated(
    scenario: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = "  - {name: m, profile: a, slo_ms: 50, rate: 400000}\n"
    scenario.write_text(f"profiles: p.csv\ngpus: 94\nmodels:\n{model}")
    picture = scenario.with_name("t.png")
    monkeypatch.setattr(simulate, "run_all", lambda jobs: pytest.fail("simulated"))
    options = ("--policy", "dstack,clockwork", "--plot", str(picture))
    assert main(["simulate", str(scenario), *QUICK, *options]) == 2
    fault = "188 panels one below the other are too high: at most 186"
    assert capsys.readouterr().err == f"kneescale: {picture}: {fault}\n"


def test_a_name_in_a_picture_is_no_formula(tmp_path: Path) -> None:
    picture = tmp_path / "t.svg"
    span = Span(r"a$\foo$", 50, 1, 0, NS_PER_S)
    draw_timeline([Panel(r"dstack on $\foo$", [span], 0, 4.0)], r"$\foo$", 100.0, picture)
    drawn = set(re.findall("<!-- (.*?) -->", picture.read_text()))
    assert drawn >= {r"a$\foo$", r"dstack on $\foo$", r"$\foo$"}
