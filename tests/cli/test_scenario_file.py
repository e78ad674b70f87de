import re
from pathlib import Path

import pytest

from kneescale.cli.scenario_file import read_scenario
from kneescale.core.errors import InvalidInputError
from kneescale.core.units import GIB
from kneescale.sim.scenario import Bursty, Poisson, Scenario, ScenarioGpu, Trace, Uniform

PROFILES = """\
model,batch,gpu_percent,latency_ms
resnet,1,50,8
resnet,1,100,5
bert,4,100,20
"""
PROFILES_OF_PRODUCTS = """\
product,model,batch,gpu_percent,latency_ms
T4,resnet,1,100,9
V100,resnet,1,100,5
V100,bert,4,100,20
"""
SCENARIO = """\
profiles: rapp.csv
gpus: 1
models:
  - {name: a, profile: resnet, slo_ms: 50, rate: 320, weight: 2, memory_gib: 1.5}
  - {name: b, profile: resnet, slo_ms: 25.5, rate: 0.5}
arrivals: uniform
"""
EXPORTED = """\
profiles: rapp.yaml
gpus: [{name: x, product: V100}]
models: [{name: a, profile: PROFILE, slo_ms: 50, rate: 10}]
"""
SLO = "a number from 0.001 to 60000"
ON_PRODUCTS = SCENARIO.replace("gpus: 1", "gpus: [{name: x, product: V100}, {name: y, product: T4}]")


def model_profiles(*names_and_products: str) -> str:
    return "---\n".join(
        "{apiVersion: kneescale.dev/v1alpha1, kind: ModelProfile, metadata: {name: NAME}, spec: {modelURI: "
        "'catalog://r', format: Emulated, productName: PRODUCT, backend: emulated, points: "
        "[{gpuPercent: 10, batch: 1, latencyMicroseconds: 5000}]}}\n".replace("NAME", name).replace(
            "PRODUCT", product
        )
        for name, product in (each.split(":") for each in names_and_products)
    )


def pending(name: str) -> str:
    return re.sub(", points: .*]", ", source: Pending", model_profiles(f"{name}:V100"))


def read(tmp_path: Path, scenario: str, profiles: str = PROFILES, trace: str = "") -> Scenario:
    for name in ("rapp.csv", "rapp.yaml"):
        (tmp_path / name).write_text(profiles)
    (tmp_path / "trace.csv").write_text(trace)
    path = tmp_path / "scenario.yaml"
    path.write_text(scenario)
    return read_scenario(path)


def test_a_scenario_is_read(tmp_path: Path) -> None:
    scenario = read(tmp_path, SCENARIO)
    assert [
        (model.name, model.slo_ms, model.rate_rps, model.weight, model.memory_gib)
        for model in scenario.models
    ] == [("a", 50, 320, 2, 1.5), ("b", 25.5, 0.5, 1, 0)]
    assert scenario.models[0].surface.latency_ms(50, 1) == 8
    assert scenario.gpus == (ScenarioGpu("gpu0", ""),)
    assert scenario.arrivals == Uniform()


def test_beside_others_batches_take_longer_than_they_were_measured_alone(tmp_path: Path) -> None:
    surface = read(tmp_path, f"interference: 1.25\n{SCENARIO}").models[0].surface
    assert (surface.latency_ms(50, 1), surface.latency_ms(100, 1)) == (10, 5)


def test_numbers_are_read_as_they_are_written(tmp_path: Path) -> None:
    text = SCENARIO.replace("rate: 320", "rate: 1e3").replace("slo_ms: 50", "slo_ms: +5e1")
    model = read(tmp_path, text).models[0]
    assert (model.rate_rps, model.slo_ms) == (1000, 50)


@pytest.mark.parametrize(
    ("arrivals", "read_as"),
    [("arrivals: bursty", Bursty()), ("arrivals: poisson", Poisson()), ("", Poisson())],
)
def test_arrivals_are_poisson_unless_said(arrivals: str, read_as: object, tmp_path: Path) -> None:
    assert read(tmp_path, SCENARIO.replace("arrivals: uniform", arrivals)).arrivals == read_as


def test_gpus_of_several_products_have_a_surface_each(tmp_path: Path) -> None:
    scenario = read(tmp_path, ON_PRODUCTS, PROFILES_OF_PRODUCTS)
    # Nothing is known of a "V100" without more to its name; a T4 has the 16 GB of its datasheet.
    assert scenario.gpus == (ScenarioGpu("x", "V100"), ScenarioGpu("y", "T4", 16e9 / GIB))
    model = scenario.models[0]
    assert model.surface is model.surfaces["V100"]
    assert model.surfaces["T4"].latency_ms(100, 1) == 9


def test_profiles_without_a_product_are_of_whatever_the_gpus_are(tmp_path: Path) -> None:
    gpus = "gpus: [{name: x, product: A100, memory_gib: 40}]"
    scenario = read(tmp_path, SCENARIO.replace("gpus: 1", gpus))
    assert scenario.gpus == (ScenarioGpu("x", "A100", 40),)
    assert set(scenario.models[0].surfaces) == {"A100"}


def test_shipped_profiles_have_their_product(tmp_path: Path) -> None:
    scenario = read(
        tmp_path, "profiles: shipped\nmodels: [{name: a, profile: resnet50, slo_ms: 60, rate: 10}]"
    )
    assert scenario.gpus[0].product in scenario.models[0].surfaces
    assert scenario.gpus[0].memory_gib == pytest.approx(16e9 / GIB)


def test_a_trace_has_the_rates(tmp_path: Path) -> None:
    text = re.sub(", rate: [0-9.]+", "", SCENARIO).replace("uniform", "{trace: trace.csv}")
    scenario = read(tmp_path, text, trace="time_s,model\n2,a\n0,b\n0.5,a\n")
    assert isinstance(scenario.arrivals, Trace)
    assert {name: times.tolist() for name, times in scenario.arrivals.times_ns.items()} == {
        "a": [500_000_000, 2_000_000_000],
        "b": [0],
    }
    assert [model.rate_rps for model in scenario.models] == [1, 0.5]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            "models:",
            "model:",
            "3: model is not known; known are profiles, models, gpus, arrivals, interference",
        ),
        ("gpus: 1", "gpus: 0", "2: gpus must be a whole number from 1 to 1000, not '0'"),
        ("gpus: 1", "gpus: {a: b}", "2: gpus must be a whole number from 1 to 1000, not a mapping"),
        ("gpus: 1", "gpus: []", "2: gpus must not be empty"),
        ("gpus: 1", "gpus: [{name: x}]", "2: gpus[0] has no product"),
        ("gpus: 1", "interference: 0.9", "2: interference must be a number from 1 to 10, not '0.9'"),
        (
            "gpus: 1",
            "gpus: [{name: x, product: A}, {name: y, product: B}]",
            "4: models[0].profile has no surface on A",
        ),
        ("gpus: 1", "gpus: 1000000", "2: gpus must be a whole number from 1 to 1000, not '1000000'"),
        *(
            ("slo_ms: 50,", f"slo_ms: {wrong},", f"4: models[0].slo_ms must be {SLO}, not '{wrong}'")
            for wrong in ("0", ".nan", "nan", "1e300", "010", "1:30", "0x10", "2026-13-45")
        ),
        ("slo_ms: 50,", "slo_ms: '5',", f"4: models[0].slo_ms must be {SLO}, not '5' in quotes"),
        ("slo_ms: 50,", "slo_ms: !foo 7,", f"4: models[0].slo_ms must be {SLO}, not !foo '7'"),
        ("slo_ms: 50,", "slo_ms: !!int abc,", f"4: models[0].slo_ms must be {SLO}, not 'abc'"),
        ("slo_ms: 50,", "slo_ms: " + 10_000 * "[", "4: is nested too deeply"),
        ("slo_ms: 50,", "slo_ms: 1, slo_ms: 2,", "4: models[0].slo_ms is given twice"),
        ("slo_ms: 50,", "", "4: models[0] has no slo_ms"),
        ("slo_ms: 50,", "slo: 50,", "4: models[0].slo is not known"),
        *(
            (
                "rate: 320",
                f"rate: {wrong}",
                f"4: models[0].rate must be a number from 1e-06 to 1e+07, not '{wrong}'",
            )
            for wrong in ("-1", "many", "true", "1e300", "1e-300")
        ),
        (
            "rate: 320",
            "rate: " + 400 * "9",
            "4: models[0].rate must be a number from 1e-06 to 1e+07, not '999",
        ),
        (
            "rate: 320",
            "rate: " + 5000 * "9",
            "4: models[0].rate must be a number from 1e-06 to 1e+07, not '999",
        ),
        ("rate: 320, ", "", "4: models[0].name 'a' needs a rate"),
        (
            "weight: 2",
            "weight: 1.5",
            "4: models[0].weight must be a whole number from 1 to 1000000, not '1.5'",
        ),
        ("name: b", "name: a", "5: models[1].name 'a' is given twice"),
        ("name: b", "name: [b]", "5: models[1].name must be a text, not a list"),
        ("profile: resnet, slo_ms: 25.5", "slo_ms: 25.5", "5: models[1] has no profile"),
        (
            "profile: resnet, slo_ms: 25.5",
            "profile: vgg, slo_ms: 25.5",
            "5: models[1].profile 'vgg' is not among the profiles: bert, resnet",
        ),
        (
            "uniform",
            "often",
            "6: arrivals must be uniform, poisson, bursty, step, ramp, daily, spike or a mapping with trace",
        ),
        ("uniform", "[uniform]", "6: arrivals must be a text, not a list"),
        ("arrivals: uniform", "- x", "6: is not YAML: "),
        *(
            (old, f'{old.partition(":")[0]}: "a{escape}"', f"{line}: is not YAML: a text holds U+{code}")
            for old, line in (("profiles: rapp.csv", 1), ("name: b", 5))
            for escape, code in ((r"\0", "0000"), (r"\ud800", "D800"))
        ),
        ("arrivals: uniform", "\x01", "6: is not YAML: unacceptable character #x0001"),
    ],
)
def test_a_fault_is_one_line_with_its_place(old: str, new: str, fault: str, tmp_path: Path) -> None:
    assert old in SCENARIO
    with pytest.raises(InvalidInputError) as caught:
        read(tmp_path, SCENARIO.replace(old, new, 1), trace="time_s,model\n1,a\n")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/scenario.yaml:{fault}")
    assert "\n" not in message


def test_where_a_surface_is_missing_a_prediction_is_offered(tmp_path: Path) -> None:
    shipped = SCENARIO.replace("rapp.csv", "shipped").replace("profile: resnet", "profile: resnet50")
    with pytest.raises(InvalidInputError) as caught:
        read(tmp_path, shipped.replace("gpus: 1", "gpus: [{name: x, product: T4}]"))
    assert str(caught.value).endswith(
        ":4: models[0].profile has no surface on T4, only on V100-SXM2-16GB: measure it, or see "
        "`kneescale predict --help`"
    )


def test_a_trace_goes_before_rates_that_are_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = SCENARIO.replace("uniform", "{trace: trace.csv}")
    scenario = read(tmp_path, text, trace="time_s,model\n2,a\n0,b\n0.5,a\n")
    assert [model.rate_rps for model in scenario.models] == [1.0, 0.5]
    assert capsys.readouterr().err == (
        f"kneescale: {tmp_path}/scenario.yaml: the rates are the trace's, not those given with the models\n"
    )


@pytest.mark.parametrize(
    ("trace", "fault"),
    [
        ("time_s\n", ":1: has no column model; needs time_s, model"),
        ("time_s,model\n1,c\n", ":2: model 'c' is not in the scenario"),
        ("time_s,model\n1,a\nnan,a\n", ":3: time_s must be a number from 0 to 1e+09, not 'nan'"),
        ("time_s,model\n1,a\nsoon,a\n", ":3: time_s must be a number from 0 to 1e+09, not 'soon'"),
        ("time_s,model\n", ": holds no request"),
        ("time_s,model\n0,a\n0,b\n", ": all requests come at 0 s: a trace needs a length"),
    ],
)
def test_a_fault_of_a_trace_has_its_place(trace: str, fault: str, tmp_path: Path) -> None:
    text = re.sub(", rate: [0-9.]+", "", SCENARIO).replace("uniform", "{trace: trace.csv}")
    with pytest.raises(InvalidInputError) as caught:
        read(tmp_path, text, trace=trace)
    assert str(caught.value) == f"{tmp_path}/trace.csv{fault}"


def test_a_rate_beyond_measure_in_a_trace_is_one_line(tmp_path: Path) -> None:
    text = re.sub(", rate: [0-9.]+", "", SCENARIO).replace("uniform", "{trace: trace.csv}")
    with pytest.raises(
        InvalidInputError, match=r":4: models\[0\]\.name 'a' has 1e\+09 requests/s in the trace"
    ):
        read(tmp_path, text, trace="time_s,model\n0,b\n1e-9,a\n")


def test_a_model_that_the_trace_lacks_is_named(tmp_path: Path) -> None:
    text = re.sub(", rate: [0-9.]+", "", SCENARIO).replace("uniform", "{trace: trace.csv}")
    with pytest.raises(
        InvalidInputError, match=r":5: models\[1\]\.name 'b' has no request in the trace: leave"
    ):
        read(tmp_path, text, trace="time_s,model\n1,a\n")


def test_a_number_of_gpus_needs_one_product_with_every_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r":2: gpus must be a list of name and product.* T4, V100$"):
        read(tmp_path, SCENARIO.replace("gpus: 1", "gpus: 2"), PROFILES_OF_PRODUCTS)
    both = SCENARIO.replace("name: b, profile: resnet", "name: b, profile: bert")
    assert read(tmp_path, both, PROFILES_OF_PRODUCTS).gpus == (ScenarioGpu("gpu0", "V100"),)


@pytest.mark.parametrize("profile", ["catalog://r", "r-v100"])
def test_exported_profiles_go_by_their_model_or_their_name(profile: str, tmp_path: Path) -> None:
    scenario = read(tmp_path, EXPORTED.replace("PROFILE", profile), model_profiles("r-v100:V100", "r-t4:T4"))
    products = {"V100", "T4"} if profile == "catalog://r" else {"V100"}
    assert set(scenario.models[0].surfaces) == products


def test_a_model_with_two_profiles_on_a_product_is_not_guessed(tmp_path: Path) -> None:
    profiles = model_profiles("r-1:V100", "r-2:V100")
    with pytest.raises(InvalidInputError, match=r":3: .*'catalog://r' is more than one profile on the same"):
        read(tmp_path, EXPORTED.replace("PROFILE", "catalog://r"), profiles)
    assert read(tmp_path, EXPORTED.replace("PROFILE", "r-2"), profiles).models
    with pytest.raises(InvalidInputError, match=r"rapp\.yaml:3: r-1 on V100 is given twice$"):
        read(tmp_path, EXPORTED.replace("PROFILE", "r-1"), model_profiles("r-1:V100", "r-1:V100"))


def test_a_name_in_two_namespaces_is_a_fault_only_where_it_is_asked_for(tmp_path: Path) -> None:
    both = model_profiles("r:V100", "r:V100", "s:V100").replace("name: r", "namespace: one, name: r", 1)
    assert read(tmp_path, EXPORTED.replace("PROFILE", "s"), both).models
    with pytest.raises(
        InvalidInputError, match=r"scenario\.yaml:3: .*'r' is more than one profile on the same"
    ):
        read(tmp_path, EXPORTED.replace("PROFILE", "r"), both)


def test_a_profile_of_which_nothing_is_measured_yet_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profiles = f"{model_profiles('r:V100')}---\n{pending('new')}"
    assert read(tmp_path, EXPORTED.replace("PROFILE", "r"), profiles).models
    assert capsys.readouterr().err == (
        f"kneescale: {tmp_path}/rapp.yaml:3: new is Pending: nothing is measured yet, so it is left out\n"
    )
    with pytest.raises(InvalidInputError, match=r":3: .*'new' is not among the profiles: catalog://r, r$"):
        read(tmp_path, EXPORTED.replace("PROFILE", "new"), profiles)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("rapp.csv", "none.csv", "1: profiles cannot be read: FOLDER/none.csv: No such file or directory"),
        ("rapp.csv", ".", "1: profiles cannot be read: FOLDER: Is a directory"),
        (
            "uniform",
            "{trace: none.csv}",
            "6: arrivals.trace cannot be read: FOLDER/none.csv: No such file or directory",
        ),
    ],
)
def test_a_file_that_cannot_be_opened_is_a_fault_of_what_names_it(
    old: str, new: str, fault: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(tmp_path, SCENARIO.replace(old, new))
    assert str(caught.value) == f"{tmp_path}/scenario.yaml:{fault.replace('FOLDER', str(tmp_path))}"


def test_a_fault_in_the_profiles_names_their_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(tmp_path, SCENARIO, PROFILES + "bert,4,100,fast\n")
    assert (
        str(caught.value)
        == f"{tmp_path}/rapp.csv:5: latency_ms must be a number from 0.001 to 600000, not 'fast'"
    )
