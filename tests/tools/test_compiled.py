"""The compiled modules decide as the interpreted ones do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.debian import MissingPackagesError
from harness.progress import Progress
from tools.compiled import compiled_package

SCENARIO = """
profiles: shipped
gpus: [{name: a, product: V100-SXM2-16GB}]
models:
  - {name: resnet50, profile: resnet50, slo_ms: 60, rate: 150}
  - {name: mobilenet_v2, profile: mobilenet_v2, slo_ms: 30, rate: 300}
  - {name: vgg19, profile: vgg19, slo_ms: 90, rate: 40, weight: 2}
arrivals: poisson
"""
KNEESCALE = "from kneescale.cli.main import program; raise SystemExit(program())"
SIMULATE = (
    "--policy",
    "dstack,dstack-no-refusal,dstack-no-fill,gslice",
    "--load",
    "1.2",
    "--duration-s",
    "5",
    "--warmup-s",
    "1",
    "--output",
    "json",
)


@pytest.fixture(scope="module")
def compiled() -> Path:
    try:
        return compiled_package(Progress(sys.stderr))
    except MissingPackagesError as error:
        pytest.skip(f"no C compiler: {error}")


def run(*args: str, packages: Path | None = None) -> str:
    env = os.environ | ({"PYTHONPATH": str(packages)} if packages else {})
    return subprocess.run(
        [sys.executable, *args],
        env=env,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ).stdout


def test_the_dispatcher_is_compiled_there(compiled: Path) -> None:
    where = run(
        "-c",
        "import kneescale.core.dispatching.dispatcher as found; print(found.__file__)",
        packages=compiled,
    )
    assert where.startswith(str(compiled))
    assert where.strip().endswith(".so")


@pytest.mark.parametrize("subcommand", [("simulate", *SIMULATE), ("plan", "--output", "json")])
def test_a_simulation_comes_to_the_same(subcommand: tuple[str, ...], compiled: Path, tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(SCENARIO)
    command = ("-c", KNEESCALE, *subcommand, str(scenario))
    interpreted = run(*command)
    assert "attainment" in interpreted
    assert run(*command, packages=compiled) == interpreted
