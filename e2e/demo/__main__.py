"""The command line: python -m e2e.demo [--scenario SCENARIO] [--backend BACKEND] [--cluster KIND]."""

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from e2e.cluster.base import Cluster, ClusterError
from e2e.cluster.choice import DEFAULT_NAME, KINDS, choose, default_kind
from e2e.demo.autoscale import PICTURE, Autoscaling
from e2e.demo.mission import Mission
from e2e.demo.report import BACKENDS, Report
from e2e.demo.scaling_report import ScalingReport
from e2e.demo.stage import Stage
from e2e.demo.traffic import NAMES, STEP, traffic_named
from harness.checkout import ROOT
from harness.debian import MissingPackagesError
from harness.progress import Progress
from harness.runner import CommandError, Shell

FOLDER = ROOT / "build" / "demo"
INTERRUPTED = 130
SERVE_S = 60.0
#: The main picture of each scenario.
PICTURES = {"serve": "timeline.png", "autoscale": PICTURE}
ERRORS = (ClusterError, CommandError, MissingPackagesError, RuntimeError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    scenario: str
    traffic: str
    backend: str
    cluster: str
    name: str
    duration_s: float | None
    output: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit status: 0, 1 if it did not show what it promises, 2 for bad usage."""
    options = _parse(argv)
    # What is shown on the way must not mix with a report meant for a program.
    stream = sys.stderr if options.output == "json" else sys.stdout
    # A terminated demo stops as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(options, stream)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; `make demo` goes on from here, `make demo-down` removes everything\n")
        return INTERRUPTED


def _parse(argv: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m e2e.demo", description="Kneescale's main job, end to end."
    )
    parser.add_argument(
        "--scenario",
        choices=tuple(PICTURES),
        default="serve",
        help="serve: models share GPUs under a steady load; autoscale: traffic steps up and falls, "
        "and capacity follows (on the emulated backend, in three minutes)",
    )
    parser.add_argument(
        "--traffic", choices=NAMES, default=STEP, help="of scenario autoscale (default: %(default)s)"
    )
    parser.add_argument("--backend", choices=sorted(BACKENDS), default="cpu")
    parser.add_argument("--cluster", choices=KINDS, help="default: kind where Docker answers, else local")
    parser.add_argument("--name", default=DEFAULT_NAME, help="of the cluster")
    parser.add_argument(
        "--duration-s",
        type=_seconds,
        help="of the load (default: 60; of scenario autoscale 170 for a step, else 300; from 600 on it is "
        "also held to how often capacity turns, and to an oracle's GPUs)",
    )
    parser.add_argument("--output", choices=("table", "json"), default="table")
    given = parser.parse_args(argv)
    if given.scenario == "autoscale" and given.backend != "emulated":
        parser.error("scenario autoscale needs more GPUs than a CPU can stand for: add --backend emulated")
    cluster = given.cluster or default_kind(Shell())
    return Options(
        given.scenario, given.traffic, given.backend, cluster, given.name, given.duration_s, given.output
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 5 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("choose 5 to 3600 seconds")
    return seconds


def _run(options: Options, stream: TextIO) -> int:
    progress, runner = Progress(stream), Shell()
    cluster = choose(options.cluster, options.name, runner=runner, progress=progress)
    FOLDER.mkdir(parents=True, exist_ok=True)
    stage = Stage(cluster, options.cluster, options.backend, FOLDER, runner, progress, stream)
    is_autoscaling = options.scenario == "autoscale"
    scenario = (
        Autoscaling(stage, options.traffic, traffic_named(options.traffic, options.duration_s))
        if is_autoscaling
        else Mission(stage, options.duration_s or SERVE_S)
    )
    try:
        report = scenario.run()
    except ERRORS as error:
        stream.write(stage.explain() + "\n")
        sys.stderr.write(f"error: {error}\n")
        return 1
    (FOLDER / "report.json").write_text(report.to_json())
    stream.write(_summary(report, cluster, PICTURES[options.scenario]))
    if options.output == "json":
        sys.stdout.write(report.to_json())
    return 1 if report.failures() else 0


def _summary(report: Report | ScalingReport, cluster: Cluster, picture: str) -> str:
    verdict = [f"NOT SHOWN: {failure}" for failure in report.failures()] or ["Everything promised was shown."]
    lines = [
        "",
        report.to_text(),
        "",
        *verdict,
        f"Report: {FOLDER / 'report.json'}   Picture: {FOLDER / picture}",
        "Look around:",
        f"  export KUBECONFIG={cluster.kubeconfig} PATH={cluster.kubectl.parent}:$PATH",
        "  kubectl get inferencemodels.kneescale.dev --all-namespaces",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
