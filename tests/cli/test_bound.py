import json
from pathlib import Path

import pytest

from kneescale.cli import pool
from kneescale.cli.main import main

# a: 4 items in 10 ms at 20 GPU%, so 0.05 GPU% x s an item; b: 1 item in 10 ms at 50 GPU%, so 0.5.
PROFILES = """\
model,batch,gpu_percent,latency_ms
a,4,20,10
a,4,100,10
b,1,50,10
b,1,100,6
"""
SCENARIO = """\
profiles: p.csv
models:
  - {name: a, profile: a, slo_ms: 50, rate: 1000}
  - {name: b, profile: b, slo_ms: 50, rate: 100}
"""


def test_json_has_the_bounds_and_what_carries_them(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bound", str(scenario), "--output", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    # Area: 1000 * 0.05 + 100 * 0.5 = 100 GPU%. In time: 1000 * 2.5 ms + 100 * 6 ms = 3.1 s of every second.
    assert said["bound"] == {"load": pytest.approx(1), "limits": ["GPU area"]}
    assert said["temporal"]["load"] == pytest.approx(1 / 3.1)
    # One batch in flight: a has 4 in 10 ms at any GPU%, so 0.4 of its rate.
    assert said["static_partitions"]["load"] == pytest.approx(0.4)
    assert said["static_partitions"]["gpu_percents"] == {"a": 20, "b": 20}
    # With each further lane 0.4 more of it, until the area is used up.
    assert [said["lanes"][lanes]["load"] for lanes in "123"] == pytest.approx([0.4, 0.8, 1], rel=1e-3)
    assert said["models"]["a"]["area_percent"] == pytest.approx(50)
    assert said["models"]["b"]["price_percent"] == pytest.approx(0.5)
    assert [(run["gpu_percent"], run["batch"]) for run in said["models"]["a"]["runs"]] == [(20, 4)]


def test_a_table_says_the_same(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bound", str(scenario)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines[1:5]] == [
        ["fluid", "bound", "1", "limited"],
        ["temporal", "0.3226"],
        ["static", "partitions", "0.4", "a"],
        ["1", "lane", "0.4"],
    ]
    assert lines[-1].split() == ["b", "100", "50", "50", "x", "1,", "10,", "100", "50", "50", "0.5"]


def test_two_gpus_carry_twice_as_much(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario.write_text(SCENARIO + "gpus: 2\n")
    main(["bound", str(scenario), "--output", "json"])
    said = json.loads(capsys.readouterr().out)
    loads = [said[key]["load"] for key in ("bound", "temporal", "static_partitions")]
    assert loads == pytest.approx([2, 2 / 3.1, 0.8])
    assert said["lanes"]["2"]["load"] == pytest.approx(1.6, rel=1e-3)


def test_gpus_whose_memory_does_not_hold_every_model_are_left_out(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scenario.parent / "p.csv").write_text(
        "".join(
            f"{'product' if line.startswith('model') else 'T'},{line}\n" for line in PROFILES.splitlines()
        )
    )
    with_memory = SCENARIO.replace("rate: 1000}", "rate: 1000, memory_gib: 9}").replace(
        "rate: 100}", "rate: 100, memory_gib: 5}"
    )
    large, small = "{name: x, product: T, memory_gib: 15}", "{name: y, product: T, memory_gib: 9}"
    scenario.write_text(f"{with_memory}gpus: [{large}, {small}]\n")
    main(["bound", str(scenario), "--output", "json"])
    said = json.loads(capsys.readouterr().out)
    # As one GPU has it. The bound, which may have a on the one and b on the other, is above.
    assert said["static_partitions"]["load"] == pytest.approx(0.4)
    assert [said["lanes"][lanes]["load"] for lanes in "123"] == pytest.approx([0.4, 0.8, 1], rel=1e-3)
    assert said["bound"]["load"] > 1
    main(["bound", str(scenario)])
    left_out = "(on 1 of 2 GPUs: no other one's memory holds every model)"
    assert [line.endswith(left_out) for line in capsys.readouterr().out.splitlines()[3:7]] == [True] * 4
    scenario.write_text(f"{with_memory}gpus: [{small}, {small.replace('y,', 'z,')}]\n")
    main(["bound", str(scenario)])
    lines = capsys.readouterr().out.splitlines()[3:7]
    assert [" ".join(line.split()[2:]) for line in lines] == ["0 no GPU's memory holds every model"] * 4


def test_unlike_gpus_have_no_bound_on_equal_parts(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each model is quick on the one product and slow on the other: alone there it passes any equal part."""
    (scenario.parent / "p.csv").write_text(
        "product,model,batch,gpu_percent,latency_ms\nX,a,1,100,10\nX,b,1,100,100\nY,a,1,100,100\nY,b,1,100,10\n"
    )
    asked = SCENARIO.replace("slo_ms: 50, rate: 1000", "slo_ms: 150, rate: 50")
    gpus = "gpus: [{name: x, product: X}, {name: y, product: Y}]\n"
    scenario.write_text(asked.replace("slo_ms: 50, rate: 100", "slo_ms: 150, rate: 50") + gpus)
    main(["bound", str(scenario), "--output", "json"])
    said = json.loads(capsys.readouterr().out)
    assert said.keys() == {"bound", "temporal", "models"}
    assert said["bound"]["load"] == pytest.approx(2)
    main(["bound", str(scenario)])
    told = capsys.readouterr().out
    assert "static partitions and lanes are left out: the GPUs are of more than one product\n" in told
    assert "1 lane" not in told


def test_static_partitions_may_be_smaller_than_what_was_measured(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scenario.parent / "p.csv").write_text("model,batch,gpu_percent,latency_ms\na,1,100,10\nb,1,100,10\n")
    scenario.write_text(SCENARIO.replace("rate: 1000", "rate: 100"))
    main(["bound", str(scenario), "--output", "json"])
    # 20 ms for each.
    assert json.loads(capsys.readouterr().out)["static_partitions"] == {
        "load": pytest.approx(0.5),
        "gpu_percents": {"a": 50, "b": 50},
    }
    scenario.write_text(SCENARIO.replace("slo_ms: 50", "slo_ms: 15"))
    main(["bound", str(scenario)])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("static")]
    assert line.split(maxsplit=3)[2:] == ["0", "not all models find room at their profiles' GPU%s"]


def test_a_long_search_is_told_of(
    scenario: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "PROGRESS_S", 0.001)
    assert main(["bound", str(scenario)]) == 0
    assert "] bounds: running, 0 of 1 done\n" in capsys.readouterr().err


def test_wrong_input_is_one_line(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario.write_text(SCENARIO.replace("slo_ms: 50", "slo_ms: 2"))
    assert main(["bound", str(scenario)]) == 2
    assert capsys.readouterr().err == (
        f"kneescale: {scenario}: model a: no run on these GPUs ends in 2 ms; the fastest takes 10 ms\n"
    )
