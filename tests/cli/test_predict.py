import csv
import io
import json
from pathlib import Path

import pytest

from kneescale.cli.main import main
from kneescale.cli.profiles import read_profiles
from kneescale.core.surfaces.prediction import TORCHSCRIPT

V100 = "V100-SXM2-16GB"
#: 10 GFLOP for each item, in more blocks than a V100 has SMs.
KERNEL = {
    "operations": 1e10,
    "results": 10**7,
    "item_bytes": 4,
    "batch_bytes": 0,
    "convolution_operations": 0,
}


def kernels_file(path: Path, *kernels: object) -> str:
    path.write_text(json.dumps(kernels))
    return str(path)


def test_the_prediction_is_a_profile_that_the_other_commands_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large = kernels_file(tmp_path / "large.json", KERNEL)
    small = kernels_file(tmp_path / "small.json", {**KERNEL, "operations": 1e9})
    assert main(["predict", large, small, "--product", V100]) == 0
    (tmp_path / "p.csv").write_text(capsys.readouterr().out)
    profiles = {profile.model: profile for profile in read_profiles(tmp_path / "p.csv")}
    assert profiles.keys() == {"large", "small"}
    assert profiles["large"].product == V100
    latencies_ms = {(point.gpu_percent, point.batch): point.latency_ms for point in profiles["large"].points}
    # 10 GFLOP at 64 % of 15.7 TFLOP/s.
    assert latencies_ms[100, 1] == pytest.approx(1.1, abs=0.1)
    assert latencies_ms[10, 1] == pytest.approx(10 * latencies_ms[100, 1], rel=0.1)
    assert main(["knee", str(tmp_path / "p.csv"), "--model", "small"]) == 0


def test_json_has_the_same_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kernels = kernels_file(tmp_path / "large.json", KERNEL)
    outputs = []
    for style in ("csv", "json"):
        assert main(["predict", kernels, "--product", V100, "--output", style]) == 0
        outputs.append(capsys.readouterr().out)
    rows = list(csv.DictReader(io.StringIO(outputs[0])))
    assert rows == [{name: str(value) for name, value in row.items()} for row in json.loads(outputs[1])]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", ":1: is not JSON: Expecting value"),
        ("[\n{]", ":2: is not JSON: Expecting property name"),
        ("[" * 100_000, ":1: is nested too deeply"),
        ("[" + 5000 * "9" + "]", ": is not JSON: a number has too many digits"),
        ("{}", ": should list a model's kernels"),
        ("[]", ": should list a model's kernels"),
        ("[3]", ": kernel 0 should have operations, results, item_bytes, batch_bytes, "),
        (json.dumps([KERNEL, {**KERNEL, "name": "a"}]), ": kernel 1 should have operations"),
        (json.dumps([{**KERNEL, "results": "many"}]), ": kernel 0: results must be a number, not 'many'"),
        *(
            (
                json.dumps([{**KERNEL, "results": wrong}]),
                ": kernel 0: a kernel has a whole number of results, ",
            )
            for wrong in (0, 1.5, float("nan"), float("inf"), 10**400)
        ),
        *(
            (
                json.dumps([{**KERNEL, "operations": wrong}]),
                ": kernel 0: a kernel's operations and bytes are 0 to",
            )
            for wrong in (-1, float("nan"), float("inf"), 10**400)
        ),
    ],
)
def test_a_bad_file_is_one_line_with_its_place(
    text: str, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "k.json"
    path.write_text(text)
    assert main(["predict", str(path), "--product", V100]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith(f"kneescale: {path}{fault}")
    assert captured.out == ""


def test_bytes_that_are_no_text_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "k.json"
    path.write_bytes(b"[\n\xff]")
    assert main(["predict", str(path), "--product", V100]) == 2
    assert capsys.readouterr().err == f"kneescale: {path}:2: is not UTF-8 text\n"


def test_two_files_of_one_model_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other").mkdir()
    paths = [kernels_file(folder / "a.json", KERNEL) for folder in (tmp_path, tmp_path / "other")]
    assert main(["predict", *paths, "--product", V100]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"kneescale: {paths[0]} and {paths[1]}: both are of a model a\n")


def test_an_unknown_product_is_told_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", kernels_file(tmp_path / "k.json", KERNEL), "--product", "K80"]) == 2
    assert capsys.readouterr().err.startswith("kneescale: no datasheet of K80; there are those of V100")


def test_the_help_tells_of_the_stack_that_is_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert f"for TorchScript in single precision as workers run it: {TORCHSCRIPT.launch_us:g} us" in said
    assert "convolutions in TF32" in said


def test_batches_that_take_longer_than_a_profile_may_say_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernels = kernels_file(tmp_path / "large.json", {**KERNEL, "operations": 1e14})
    assert main(["predict", kernels, "--product", V100]) == 0
    said = capsys.readouterr()
    fault = "batches of 4 and more are left out, as some are predicted to take more than 600000 ms"
    assert said.err == f"kneescale: {kernels}: {fault}\n"
    (tmp_path / "p.csv").write_text(said.out)
    (profile,) = read_profiles(tmp_path / "p.csv")
    assert {point.batch for point in profile.points} == {1, 2}


def test_a_model_of_which_no_batch_is_left_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernels = kernels_file(tmp_path / "large.json", {**KERNEL, "operations": 1e16})
    assert main(["predict", kernels, "--product", V100]) == 2
    said = capsys.readouterr()
    fault = "even one item is predicted to take more than 600000 ms"
    assert (said.out, said.err) == ("", f"kneescale: {kernels}: {fault}\n")
