import json
import subprocess
import sys
from pathlib import Path

import pytest

from kneescale.cli import knee
from kneescale.cli.main import main
from kneescale.core.surfaces.catalog import lookup

CSV = """\
model,batch,gpu_percent,latency_ms
flat,1,10,5.0
flat,1,40,5.0
flat,1,100,5.0
flat,4,10,8.0
flat,4,40,6.0
flat,4,100,6.0
slow,1,100,300
"""

CSV_OF_PRODUCTS = """\
model,product,batch,gpu_percent,latency_ms
flat,V100,1,100,5
flat,T4,1,100,9
"""

MODEL_PROFILE = """\
apiVersion: kneescale.dev/v1alpha1
kind: ModelProfile
metadata: {name: flat-v100}
spec:
  modelURI: catalog://flat
  format: Emulated
  productName: V100
  backend: emulated
  source: Imported
  points:
  - {gpuPercent: 10, batch: 1, latencyMicroseconds: 5000}
  - {gpuPercent: 100, batch: 1, latencyMicroseconds: 5000}
"""


PENDING = MODEL_PROFILE[: MODEL_PROFILE.index("  points")].replace("Imported", "Pending")


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    path = tmp_path / "profiles.csv"
    path.write_text(CSV)
    return path


def test_a_table_has_a_line_for_each_model(profiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["knee", str(profiles), "--slo-ms", "50", "--rate", "100"]) == 0
    title, flat, slow = capsys.readouterr().out.splitlines()
    assert title.split()[:6] == ["MODEL", "KNEE", "BY", "EFFICACY", "GPU%", "BATCH"]
    assert flat.split() == ["flat", "40", "10", "10", "4", "8", "measured", "500", "2"]
    assert slow.endswith("even batch 1 at 100 GPU% takes 300 ms; the SLO of 50 ms allows 25 ms a batch")


def test_a_run_between_the_points_says_how_far_off_it_can_be(
    profiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Batch 4 takes no less than the batch of 1 that was measured, and no more than that of 8."""
    profiles.write_text("model,batch,gpu_percent,latency_ms\na,1,20,12\na,8,20,16\n")
    assert main(["knee", str(profiles), "--slo-ms", "28"]) == 0
    _, row = capsys.readouterr().out.splitlines()
    assert row.split()[3:9] == ["20", "4", "13.71", "12", "to", "16"]


def test_the_figures_that_come_with_the_product_need_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["knee", "shipped", "--model", "resnet50", "--output", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["model"], row["product"]) == ("resnet50", "V100-SXM2-16GB")
    surface = lookup("resnet50", "V100-SXM2-16GB").surface()
    assert row["latency_ms"] == pytest.approx(surface.latency_ms(row["gpu_percent"], row["batch"]), abs=1e-3)


def test_json_has_the_same(profiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["knee", str(profiles), "--slo-ms", "50", "--model", "flat", "--output", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["model"], row["knee_percent"], row["gpu_percent"], row["batch"]) == ("flat", 40, 10, 4)
    assert row["efficacy_knee_percent"] == 10
    assert (row["latency_ms"], row["throughput_rps"], row["reason"]) == (8.0, 500.0, None)


def test_each_gpu_product_of_a_model_has_a_row(profiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profiles.write_text(CSV_OF_PRODUCTS)
    assert main(["knee", str(profiles)]) == 0
    title, *rows = capsys.readouterr().out.splitlines()
    assert title.split()[:3] == ["MODEL", "PRODUCT", "KNEE"]
    assert [row.split()[:2] for row in rows] == [["flat", "V100"], ["flat", "T4"]]
    assert main(["knee", str(profiles), "--product", "V100", "--output", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["model"], row["product"], row["latency_ms"]) == ("flat", "V100", 5.0)


def test_a_product_that_is_not_there_is_told_what_is(
    profiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["knee", str(profiles), "--product", "T4"]) == 2
    profiles.write_text(CSV_OF_PRODUCTS)
    assert main(["knee", str(profiles), "--product", "A100"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"kneescale: {profiles}: holds no profile on T4; it has flat, slow",
        f"kneescale: {profiles}: holds no profile on A100; it has flat on V100, flat on T4",
    ]


def test_a_picture_has_a_panel_for_each_gpu_product(profiles: Path, tmp_path: Path) -> None:
    profiles.write_text(CSV_OF_PRODUCTS)
    picture = tmp_path / "knee.svg"
    assert main(["knee", str(profiles), "--plot", str(picture)]) == 0
    assert all(f"<!-- flat on {product} -->" in picture.read_text() for product in ("V100", "T4"))


def test_a_model_profile_is_read_as_it_is_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(MODEL_PROFILE)
    assert main(["knee", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:5] == ["flat-v100", "V100", "10", "10", "10"]


@pytest.mark.parametrize(
    ("source", "observed", "latency_ms", "why"),
    [
        ("Imported", 1, 10, "2 times as long, as workers measure of late"),
        ("Imported", 0, 5, None),
        ("Predicted", 0, 9, "80 % longer, for a prediction may be off by that"),
        ("Predicted", 1, 18, "80 % longer, for a prediction may be off by that, and 2 times as long, as"),
    ],
)
def test_a_model_profile_is_as_slow_as_the_operator_takes_it_to_be(
    source: str,
    observed: int,
    latency_ms: float,
    why: str | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    profile = MODEL_PROFILE.replace("flat-v100}", "flat-v100, generation: 1}")
    profile = profile.replace("source: Imported", f"source: {source}\n  expectedErrorPercent: 80")
    path = tmp_path / "profile.yaml"
    path.write_text(f"{profile}status: {{observedGeneration: {observed}, latencyRatioPermille: 2000}}\n")
    assert main(["knee", str(path), "--slo-ms", "60", "--output", "json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)[0]["latency_ms"] == latency_ms
    told = f"kneescale: {path}: flat-v100 on V100: batches are taken to be {why}"
    assert said.err.startswith(told) if why else said.err == ""


@pytest.mark.parametrize("kind", ["List", "ModelProfileList"])
def test_a_list_of_kubectl_is_read(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "profiles.yaml"
    items = [MODEL_PROFILE, MODEL_PROFILE.replace("flat", "steep")]
    indented = "".join(f"- {item.rstrip()}\n".replace("\n", "\n  ").rstrip() + "\n" for item in items)
    path.write_text(f"apiVersion: v1\nkind: {kind}\nitems:\n{indented}")
    assert main(["knee", str(path)]) == 0
    assert [row.split()[0] for row in capsys.readouterr().out.splitlines()[1:]] == ["flat-v100", "steep-v100"]


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        (
            "p.csv",
            "model,batch\n",
            ":1: has no column gpu_percent; needs model, batch, gpu_percent, latency_ms",
        ),
        ("p.csv", "", ":1: has no column model; needs model, batch, gpu_percent, latency_ms"),
        ("p.csv", "model,batch,gpu_percent,latency_ms\n", ": holds no profile"),
        ("p.csv", CSV + "slow,two,100,1\n", ":9: batch must be a whole number from 1 to 1024, not 'two'"),
        (
            "p.csv",
            CSV + "slow,2,100,fast\n",
            ":9: latency_ms must be a number from 0.001 to 600000, not 'fast'",
        ),
        ("p.csv", CSV + "slow,2,200,1\n", ":9: gpu_percent must be a whole number from 1 to 100, not '200'"),
        ("p.csv", CSV + "slow,2,,1\n", ":9: gpu_percent is empty"),
        ("p.csv", CSV + "slow,2\n", ":9: has 2 cells, the header has 4"),
        ("p.csv", CSV + "slow,2,100,0,5\n", ":9: has 5 cells, the header has 4"),
        ("p.csv", CSV + 'slow,"2,100,1\nslow,4,100,1\n', ":9: has 2 cells, the header has 4"),
        ("p.csv", CSV + 'slow,"' + "2,100,1\n" * 20_000, ":9: field larger than field limit"),
        ("p.csv", CSV + "slow,1,100,1\n", ":9: GPU% 100 with batch 1 is given twice"),
        (
            "p.csv",
            CSV + "slow,2,100,inf\n",
            ":9: latency_ms must be a number from 0.001 to 600000, not 'inf'",
        ),
        ("p.csv", CSV + "slow,2,100,1e-320\n", ":9: latency_ms must be a number from 0.001 to 600000"),
        ("p.csv", CSV + "slow,999999999999,100,1\n", ":9: batch must be a whole number from 1 to 1024"),
        ("p.csv", CSV + f"slow,{'9' * 400},100,1\n", ":9: batch must be a whole number from 1 to 1024"),
        ("p.csv", CSV.replace("model,", "model,batch,"), ":1: column 'batch' is given twice"),
        ("p.yaml", "kind: Pod\n", ":1: is not a ModelProfile"),
        ("p.yaml", "a: [\n", ":2: is not YAML: "),
        ("p.yaml", MODEL_PROFILE.replace("batch: 1", "batch: 0"), ":1: spec.points[0].batch"),
        ("p.yaml", "", ": holds no profile"),
        ("p.yaml", "apiVersion: v1\nkind: List\nitems: []\n", ": holds no profile"),
        (
            "p.yaml",
            MODEL_PROFILE.replace("kneescale.dev", "example.com"),
            ":1: apiVersion must be kneescale.dev/v1alpha1, not 'example.com/v1alpha1'",
        ),
        ("p.yaml", f"{MODEL_PROFILE}---\n{MODEL_PROFILE}", ":14: flat-v100 on V100 is given twice"),
        ("p.yaml", PENDING, ":1: flat-v100 is Pending: nothing is measured yet"),
        ("p.yaml", MODEL_PROFILE.replace("{name: flat-v100}", "[1]"), ":1: metadata must be an object"),
        ("p.yaml", MODEL_PROFILE.replace("flat-v100", "5"), ":1: metadata.name must be of type str, not 5"),
        ("p.yaml", MODEL_PROFILE.replace("5000", "!!int abc"), ":11: is not YAML: cannot be read as int"),
        ("p.yaml", MODEL_PROFILE.replace("5000", "!foo 7"), ":11: is not YAML: could not determine"),
        (
            "p.yaml",
            MODEL_PROFILE.replace("V100", "2026-13-45"),
            ":7: is not YAML: cannot be read as timestamp",
        ),
        ("p.yaml", MODEL_PROFILE.replace("V100", '"\\ud800"'), ":7: is not YAML: a text holds U+D800"),
        ("p.yaml", "\n" + "[" * 10_000, ":2: is nested too deeply"),
    ],
)
def test_a_bad_file_is_one_line_with_its_place(
    name: str, text: str, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert main(["knee", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"kneescale: {path}{fault}")


def test_a_csv_file_of_a_spreadsheet_is_read(profiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["knee", str(profiles)])
    header, *points = CSV.splitlines()
    profiles.write_text("\r\n".join([header.replace(",", " , "), *points]), encoding="utf-8-sig")
    main(["knee", str(profiles)])
    title, flat, slow, *again = capsys.readouterr().out.splitlines()
    assert again == [title, flat, slow]


def test_bytes_that_are_no_text_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(CSV.encode() + b"m\xfcller,1,100,3\n")
    assert main(["knee", str(path)]) == 2
    assert capsys.readouterr().err == f"kneescale: {path}:9: is not UTF-8 text\n"


def test_a_missing_file_and_a_missing_model(profiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["knee", f"{profiles}.gone"]) == 2
    assert main(["knee", str(profiles), "--model", "bert"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"kneescale: {profiles}.gone: No such file or directory",
        f"kneescale: {profiles}: holds no model bert; it has flat, slow",
    ]


def test_a_picture_is_drawn_where_asked(
    profiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "knee.png"
    assert main(["knee", str(profiles), "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_picture_that_cannot_be_written_is_one_line(
    profiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere, unknown = tmp_path / "gone" / "knee.png", tmp_path / "knee.doc"
    assert main(["knee", str(profiles), "--plot", str(nowhere)]) == 2
    assert main(["knee", str(profiles), "--plot", str(unknown)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"kneescale: {nowhere}: No such file or directory"
    assert second.startswith(f"kneescale: {unknown}: a picture's name ends in one of .")


def test_a_picture_without_matplotlib_names_the_extra(
    profiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for module in ("knee_picture", "plotting"):
        monkeypatch.delitem(sys.modules, f"kneescale.cli.{module}", raising=False)
    assert main(["knee", str(profiles), "--plot", str(tmp_path / "knee.png")]) == 2
    assert capsys.readouterr().err == "kneescale: pictures need matplotlib: pip install 'kneescale[plot]'\n"


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon", "1e300"])
def test_a_wrong_slo_is_refused(value: str, profiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["knee", str(profiles), f"--slo-ms={value}"])
    assert exit_.value.code == 2
    assert f"must be a number from 0.001 to 60000, not '{value}'" in capsys.readouterr().err


def test_the_installed_command_says_its_version() -> None:
    program = Path(sys.executable).with_name("kneescale")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("kneescale 0.")


def test_more_models_than_fit_in_a_picture_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(knee, "_draw", lambda *what: pytest.fail("drawn"))
    many, picture = tmp_path / "many.csv", tmp_path / "knee.png"
    rows = "".join(f"m{number},1,100,5\n" for number in range(4 * 186 + 1))
    many.write_text(f"model,batch,gpu_percent,latency_ms\n{rows}")
    assert main(["knee", str(many), "--plot", str(picture)]) == 2
    fault = "187 panels one below the other are too high: at most 186"
    assert capsys.readouterr() == ("", f"kneescale: {picture}: {fault}\n")


def test_a_name_in_a_picture_is_no_formula(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profiles, picture = tmp_path / "p.csv", tmp_path / "knee.svg"
    profiles.write_text("model,batch,gpu_percent,latency_ms\na$\\foo$,1,100,5\n")
    assert main(["knee", str(profiles), "--plot", str(picture)]) == 0
    assert r"<!-- a$\foo$ -->" in picture.read_text()
