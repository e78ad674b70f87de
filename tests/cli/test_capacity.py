import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from kneescale.cli import capacity
from kneescale.cli.main import main
from tests.cli import test_simulate

PROFILES, SCENARIO = test_simulate.PROFILES, test_simulate.SCENARIO
QUICK = ("--duration-s", "3", "--warmup-s", "0.5")


def test_json_has_each_policys_load_and_its_fraction_of_the_bound(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["capacity", str(scenario), *QUICK, "--policy", "dstack,nexus", "--output", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    bound = said["bound"]["load"]
    for policy in ("dstack", "nexus"):
        load, fraction = said["policies"][policy]["load"], said["policies"][policy]["fraction_of_bound"]
        assert fraction == pytest.approx(load / bound)
        assert 0 < fraction <= 1.01
    assert said["policies"]["dstack"]["load"] > said["policies"]["nexus"]["load"]


@pytest.mark.parametrize("rate", [8, 800])
def test_what_gpus_carry_does_not_depend_on_how_rates_are_written(
    rate: int, scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = f"{{name: first, profile: a, slo_ms: 50, rate: {rate}}}"
    scenario.write_text(f"profiles: p.csv\ngpus: 3\nmodels:\n  - {model}\n")
    assert main(["capacity", str(scenario), "--duration-s", "1", "--warmup-s", "0", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["policies"]["dstack"]["fraction_of_bound"] > 0.9


def test_each_gpu_is_searched_on_its_own_and_each_must_carry_the_load(
    scenario: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def searched(jobs: Mapping[str, object]) -> dict[str, float]:
        carried = {"dstack on gpu0": 2.0, "dstack on gpu1": 1.0, "nexus on gpu0": 0.5, "nexus on gpu1": 0.75}
        assert list(jobs) == list(carried)
        return carried

    monkeypatch.setattr(capacity, "run_all", searched)
    scenario.write_text(SCENARIO + "gpus: 2\n")
    assert main(["capacity", str(scenario), *QUICK, "--policy", "dstack,nexus", "--output", "json"]) == 0
    policies = json.loads(capsys.readouterr().out)["policies"]
    assert {name: of_one["load"] for name, of_one in policies.items()} == {"dstack": 1, "nexus": 0.5}


def test_a_lower_attainment_is_carried_further(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loads = []
    for attainment in ("0.99", "0.5"):
        main(["capacity", str(scenario), *QUICK, "--attainment", attainment, "--output", "json"])
        loads.append(json.loads(capsys.readouterr().out)["policies"]["dstack"]["fraction_of_bound"])
    assert loads[0] < 1.04 < loads[1]


def test_a_trace_is_carried_as_far_as_other_requests(
    scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{number / 8},{'first' if number % 2 else 'second'}" for number in range(400)]
    (tmp_path / "trace.csv").write_text("\n".join(["time_s,model", *rows]))
    scenario.write_text(
        SCENARIO.replace(", rate: 800", "").replace(", rate: 160", "") + "arrivals: {trace: trace.csv}\n"
    )
    asked = (str(scenario), "--policy", "dstack,temporal,clipper", "--output", "json")
    assert main(["capacity", *asked]) == 0
    policies = json.loads(capsys.readouterr().out)["policies"]
    assert len({of_one["load"] for of_one in policies.values()}) > 1
    assert policies["temporal"]["fraction_of_bound"] < 0.9
    capsys.readouterr()
    assert main(["capacity", *asked, "--duration-s", "60", "--warmup-s", "55"]) == 2
    assert capsys.readouterr().err == (
        "kneescale: no request of the trace comes from 55 to 60 s: "
        "make --warmup-s shorter or --duration-s longer\n"
    )


def test_the_table_says_the_same(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capacity", str(scenario), *QUICK]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["(fluid", "bound)", "2.5", "1"]
    assert lines[2].startswith("dstack")


def test_an_attainment_of_one_is_refused(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["capacity", str(scenario), "--attainment", "1"])
    assert "must be a number from 0.001 to 0.99999, not '1'" in capsys.readouterr().err


def test_a_run_of_few_slos_is_told(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("capacity", str(scenario), "--warmup-s", "0.5")
    assert main([*asked, "--duration-s", "1"]) == 0
    assert capsys.readouterr().err == (
        "kneescale: loads look larger than they are: 0.5 s count, which is less than 20 times the longest "
        "SLO: make --duration-s at least 1.5\n"
    )
    assert main([*asked, "--duration-s", "1.5"]) == 0
    assert capsys.readouterr().err == ""
