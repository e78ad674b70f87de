import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kneescale.cli import fleet_plan, fleet_search
from kneescale.cli.main import main

# On a V100 an item of a takes 0.2 GPU% x s, in batches of 4 at 20 GPU%; on a T4 0.6, at 60.
PROFILES = """\
product,model,batch,gpu_percent,latency_ms
V100,a,4,20,40
V100,a,4,100,20
T4,a,4,60,40
T4,a,4,100,40
V100,b,1,50,10
"""
SCENARIO = """\
profiles: p.csv
gpus: [{name: x, product: V100, memory_gib: 16}]
models:
  - {name: a1, profile: a, slo_ms: 60, rate: 200, memory_gib: 2}
  - {name: a2, profile: a, slo_ms: 60, rate: 300, memory_gib: 2}
"""


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["plan", *arguments, "--output", "json"]) == 0
    plan: dict[str, Any] = json.loads(capsys.readouterr().out)
    return plan


def test_json_has_gpus_models_and_the_bound(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(capsys, str(scenario))
    # 40 and 60 GPU%: one GPU at best, and two when none is to be loaded above 80 %.
    assert (plan["product"], plan["gpus_needed"]) == ("V100", 2)
    assert plan["bound"] == {"gpus": 2, "gpus_any_schedule": 1}
    assert plan["utilization"] == pytest.approx(0.5)
    assert sorted(gpu["utilization"] for gpu in plan["gpus"]) == pytest.approx([0.4, 0.6])
    model = plan["models"]["a1"]
    assert (model["gpu_percent"], model["batch"], model["latency_ms"]) == (20, 4, 40)
    assert (model["area_percent"], model["gather_ms"]) == pytest.approx((40, 15))
    assert plan["gpus"][model["gpus"][0]]["models"] == ["a1"]


def test_another_product_can_be_asked_for(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario.write_text(SCENARIO.replace("slo_ms: 60", "slo_ms: 240"))
    plan = planned(capsys, str(scenario), "--product", "T4")
    # 120 and 180 GPU%: 3 GPUs of 100, 4 of 80.
    assert (plan["product"], plan["bound"]) == ("T4", {"gpus": 4, "gpus_any_schedule": 3})
    assert plan["gpus_needed"] >= 4
    assert max(gpu["utilization"] for gpu in plan["gpus"]) <= 0.8


def test_the_product_asked_for_need_not_be_in_the_scenario(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario.write_text(SCENARIO.replace("gpus: [", "# gpus: ["))
    assert planned(capsys, str(scenario), "--product", "T4")["product"] == "T4"
    assert main(["plan", str(scenario)]) == 2
    assert (
        "gpus must be a list of name and product: there are profiles on T4, V100" in capsys.readouterr().err
    )


@pytest.mark.parametrize(("lanes", "number"), [("free", 0), ("3", 3), ("paper", 1)])
def test_lanes_are_as_asked_for(
    lanes: str, number: int, scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The paper's rule wants f <= SLO / 2.
    scenario.write_text(SCENARIO.replace("slo_ms: 60", "slo_ms: 90"))
    for model in planned(capsys, str(scenario), "--lanes", lanes)["models"].values():
        assert [len(pool) for pool in model["lanes"].values()] == [number] * bool(number) * len(model["gpus"])


# An item takes a whole GPU for 10 ms, or a tenth of one.
WHOLE = "model,batch,gpu_percent,latency_ms\na,1,100,10\n"
TENTH = "model,batch,gpu_percent,latency_ms\na,1,10,10\na,1,100,10\n"


def write(scenario: Path, profiles: str, models: int, **of_each: float) -> None:
    """So many models of one profile, all alike."""
    (scenario.parent / "p.csv").write_text(profiles)
    fields = ", ".join(f"{name}: {value}" for name, value in of_each.items())
    each = [f"  - {{name: m{number}, profile: a, {fields}}}\n" for number in range(models)]
    scenario.write_text("profiles: p.csv\nmodels:\n" + "".join(each))


def test_gpus_are_added_until_the_slos_are_kept(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(scenario, WHOLE, models=2, rate=30, slo_ms=35)
    plan = planned(capsys, str(scenario))
    # 60 % of one GPU, in batches that wait for each other.
    assert plan["bound"] == {"gpus": 1, "gpus_any_schedule": 1}
    assert plan["gpus_needed"] == 2
    assert plan["planned_load"] == 0.5
    assert plan["missed"] == {}
    assert main(["plan", str(scenario)]) == 0
    said = capsys.readouterr().out
    assert "loaded to 50 % at most: with fewer, as simulated, models miss their SLOs\n" in said


def test_bursts_are_looked_at_for_longer_than_four_of_them(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(scenario, WHOLE, models=1, rate=55, slo_ms=150)
    with scenario.open("a") as file:
        file.write("arrivals: bursty\n")
    # One GPU answers all of the first 10 s in time, but not 98 % of a minute.
    assert planned(capsys, str(scenario))["gpus_needed"] == 2


def test_what_no_number_of_gpus_keeps_is_said(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(scenario, WHOLE, models=1, rate=60, slo_ms=11)
    plan = planned(capsys, str(scenario))
    assert plan["missed"] == {"m0": plan["models"]["m0"]["attainment"]}
    assert plan["missed"]["m0"] < plan["attainment_asked"] == 0.99
    assert main(["plan", str(scenario)]) == 0
    headline, misses = capsys.readouterr().out.splitlines()[:2]
    assert headline.startswith("2 GPUs would still miss SLOs, ")
    assert misses.startswith("even with no GPU loaded above 30 %, fewer than 99 % are in time of m0 (")


def test_of_many_models_the_summary_has_the_first(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(scenario, WHOLE, models=6, rate=5, slo_ms=10.5)
    assert main(["plan", str(scenario)]) == 0
    lines = capsys.readouterr().out.splitlines()[1:3]
    assert [line.count("; ") for line in lines] == [4, 2 * 4]
    assert all(line.endswith("; and 2 more") for line in lines)


def test_batches_have_the_rate_of_a_replica_to_gather(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(scenario, "model,batch,gpu_percent,latency_ms\na,1,100,40\na,4,100,40\n", 1, rate=200, slo_ms=110)
    plan = planned(capsys, str(scenario))
    (model,) = plan["models"].values()
    replicas = len(model["gpus"])
    assert replicas >= 3
    assert model["gather_ms"] == pytest.approx((model["batch"] - 1) * 1000 * replicas / 200)
    assert model["latency_ms"] + model["gather_ms"] <= 110


def test_a_plan_of_many_gpus_is_simulated_in_part(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(scenario, WHOLE, models=17, rate=78, slo_ms=200)
    plan = planned(capsys, str(scenario))
    assert (plan["gpus_needed"], plan["simulated_gpus"]) == (17, 16)
    attainments = [model["attainment"] for model in plan["models"].values()]
    assert attainments.count(None) == 1
    assert main(["plan", str(scenario)]) == 0
    assert "simulated on 16 of the GPUs, which stand for all\n" in capsys.readouterr().out


def test_lanes_asked_for_are_simulated_and_carry_no_more_than_they_can(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(scenario, TENTH, models=1, rate=150, slo_ms=200)
    assert planned(capsys, str(scenario))["gpus_needed"] == 1
    # One batch of one item at a time: 100 requests/s.
    on_one_lane = planned(capsys, str(scenario), "--lanes", "1")
    assert on_one_lane["gpus_needed"] == 2
    assert on_one_lane["missed"] == {}


def test_each_lane_takes_the_models_memory(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario.write_text(SCENARIO.replace("memory_gib: 2}", "memory_gib: 6}"))
    assert main(["plan", str(scenario), "--lanes", "3"]) == 2
    assert "needs 18.0 GiB of GPU memory; a GPU has 16" in capsys.readouterr().err


def test_gpus_have_the_least_memory_listed_that_every_model_fits_in(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = [f"{{name: x{gib}, product: V100, memory_gib: {gib}}}" for gib in (7, 9, 32)]
    gpus = f"gpus: [{', '.join(listed)}]"
    with_memory = SCENARIO.replace("gpus: [{name: x, product: V100, memory_gib: 16}]", gpus)
    scenario.write_text(with_memory.replace("memory_gib: 2}", "memory_gib: 8}"))
    # Two would fit in 32 GiB, one in 9.
    assert planned(capsys, str(scenario))["bound"]["gpus_any_schedule"] == 2
    scenario.write_text(with_memory.replace("memory_gib: 2}", "memory_gib: 33}"))
    assert main(["plan", str(scenario)]) == 2
    assert "model a1: needs 33.0 GiB of GPU memory; a GPU has 32" in capsys.readouterr().err


def test_what_another_product_holds_is_in_its_datasheet(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario.write_text(
        SCENARIO.replace("slo_ms: 60", "slo_ms: 240").replace("memory_gib: 2}", "memory_gib: 15}")
    )
    assert main(["plan", str(scenario), "--product", "T4"]) == 2
    assert "model a1: needs 15.0 GiB of GPU memory; a GPU has 14.9" in capsys.readouterr().err


def test_memory_of_which_nothing_is_known_is_asked_for(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scenario.parent / "p.csv").write_text(PROFILES.replace("T4", "Own"))
    assert main(["plan", str(scenario), "--product", "Own"]) == 2
    fault = "nobody says how much memory one Own has: list one under gpus with its memory_gib"
    assert capsys.readouterr().err == f"kneescale: {scenario}: {fault}\n"


def test_a_trace_is_planned_for_its_busiest_part(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(scenario, WHOLE, models=1, slo_ms=200)
    times_s = [*range(40), *(20 + number / 150 for number in range(1500))]
    (scenario.parent / "t.csv").write_text("time_s,model\n" + "".join(f"{time_s},m0\n" for time_s in times_s))
    with scenario.open("a") as file:
        file.write("arrivals: {trace: t.csv}\n")
    plan = planned(capsys, str(scenario))
    # 150 batches of 10 ms a second, of the whole GPU; in the mean of the trace 40.
    assert plan["of_trace_s"] == pytest.approx([20, 30], abs=0.1)
    assert plan["gpus_needed"] == 2
    assert plan["missed"] == {}
    assert main(["plan", str(scenario)]) == 0
    assert "for the trace's busiest part, 20 to 30 s\n" in capsys.readouterr().out


def test_what_the_operator_makes_of_it_is_said(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(scenario, WHOLE, models=1, rate=30, slo_ms=35)
    assert planned(capsys, str(scenario))["operator"] == {"refused": {}, "gpus": 1}
    assert main(["plan", str(scenario)]) == 0
    assert "operator" not in capsys.readouterr().out
    # By efficacy it is the whole GPU, by cost a fifth of it.
    profiles = "model,batch,gpu_percent,latency_ms\na,1,20,25\na,1,100,10\n"
    write(scenario, profiles, models=1, rate=150, slo_ms=200)
    plan = planned(capsys, str(scenario))
    assert (plan["gpus_needed"], plan["operator"]["gpus"]) == (1, 2)
    assert main(["plan", str(scenario)]) == 0
    assert "the operator takes 2 for the models: it chooses" in capsys.readouterr().out
    write(scenario, WHOLE, models=1, rate=5, slo_ms=19)
    assert main(["plan", str(scenario)]) == 0
    refusal = "even batch 1 at 100 GPU% takes 10 ms; the SLO of 19 ms allows 9.5 ms a batch"
    assert f"the operator refuses m0: {refusal}\n" in capsys.readouterr().out


def test_a_table_says_the_same(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(scenario)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "2 V100 GPUs needed, 50 % of their area in use; no fewer than 2 by the fluid bound"
    )
    (line,) = [line.split() for line in said.splitlines() if line.startswith("a1")]
    assert line[:7] == ["a1", "1", "20", "4", "40", "15", "40"]
    assert 40 <= float(line[7]) <= 60
    assert float(line[8]) == pytest.approx(1, abs=0.01)
    assert line[9] == "any"


@pytest.mark.parametrize(
    ("change", "arguments", "fault"),
    [
        (
            ("rate: 200", "rate: 200"),
            ["--product", "A100"],
            "model a1 has no surface on A100, only on T4, V100: measure it",
        ),
        (("memory_gib: 2}", "memory_gib: 20}"), [], "model a1: needs 20.0 GiB of GPU memory; a GPU has 16"),
        (
            ("slo_ms: 60", "slo_ms: 12"),
            [],
            "model a1: the fastest run takes 20 ms; the SLO is 12 ms",
        ),
    ],
)
def test_what_cannot_be_planned_is_one_line(
    change: tuple[str, str],
    arguments: list[str],
    fault: str,
    scenario: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scenario.write_text(SCENARIO.replace(*change))
    assert main(["plan", str(scenario), *arguments]) == 2
    assert capsys.readouterr().err == f"kneescale: {scenario}: {fault}\n"


def test_profiles_without_a_product_cannot_be_asked_for_one(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scenario.parent / "p.csv").write_text("model,batch,gpu_percent,latency_ms\na,4,20,40\n")
    scenario.write_text(SCENARIO.replace("gpus: [", "# gpus: ["))
    assert main(["plan", str(scenario), "--product", "T4"]) == 2
    fault = "model a1 has no surface on T4: its profile has no product column"
    assert capsys.readouterr().err == f"kneescale: {scenario}: {fault}\n"


@pytest.mark.parametrize("lanes", ["0", "-1", "many", "1000000000"])
def test_wrong_lanes_are_refused(lanes: str, scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["plan", str(scenario), f"--lanes={lanes}"])
    assert exit_.value.code == 2
    assert f"must be a whole number from 1 to 16, not '{lanes}'" in capsys.readouterr().err


def test_of_a_rate_that_changes_the_peak_is_planned(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(scenario, WHOLE, models=1, rate=65, slo_ms=35)
    at_peak = planned(capsys, str(scenario))
    assert at_peak["gpus_needed"] == 2
    with scenario.open("a") as file:
        file.write("arrivals: spike\n")
    assert planned(capsys, str(scenario)) == at_peak


def test_all_that_takes_long_with_many_models_is_told_of(
    scenario: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []

    @contextmanager
    def telling(name: str) -> Iterator[None]:
        told.append(name)
        yield

    def run_all(jobs: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        told.extend(jobs)
        return {name: job() for name, job in jobs.items()}

    for module in (fleet_plan, fleet_search):
        monkeypatch.setattr(module, "telling", telling)
    monkeypatch.setattr(fleet_plan, "run_all", run_all)
    write(scenario, TENTH, models=1, rate=20, slo_ms=200)
    planned(capsys, str(scenario), "--lanes", "1")
    assert told == [
        "the replicas of each model",
        "GPUs loaded to 80 %",
        "what the operator makes of it",
        "lanes of GPU 0 of 1",
    ]
