"""The command line: python -m e2e.chaos [--minutes M] [--seed N]."""

import argparse
import signal
import sys
from collections.abc import Sequence

from e2e.chaos.run import run
from e2e.cluster.base import ClusterError
from harness.checkout import ROOT
from harness.debian import MissingPackagesError
from harness.progress import Progress
from harness.runner import CommandError

FOLDER = ROOT / "build" / "chaos"


def main(argv: Sequence[str] | None = None) -> int:
    """Run, and return the exit status: 0, 1 if something was wrong at the end, 2 for bad usage."""
    parser = argparse.ArgumentParser(prog="python -m e2e.chaos", description="Faults under load.")
    parser.add_argument("--minutes", type=_minutes, default=30.0, help="of load (default: 30)")
    parser.add_argument("--seed", type=int, default=1, help="of the faults' times and victims (default: 1)")
    given = parser.parse_args(argv)
    # A terminated run takes its cluster down, as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        report = run(60 * given.minutes, given.seed, FOLDER, Progress())
    except (ClusterError, CommandError, MissingPackagesError, TimeoutError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    report.draw(FOLDER / "attainment.png")
    verdict = [f"WRONG: {failure}" for failure in report.failures()] or ["Every request is accounted for."]
    text = "\n".join([report.to_text(), "", *verdict, ""])
    (FOLDER / "report.txt").write_text(text)
    sys.stdout.write(text + f"Picture: {FOLDER / 'attainment.png'}\n")
    return 1 if report.failures() else 0


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 2 <= minutes <= 24 * 60:
        raise argparse.ArgumentTypeError("choose 2 to 1440 minutes")
    return minutes


if __name__ == "__main__":
    sys.exit(main())
