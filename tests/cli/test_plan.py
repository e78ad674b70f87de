import json
from pathlib import Path
from typing import Any

import pytest

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
            "model a1 has no surface on A100, only on T4, V100",
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
