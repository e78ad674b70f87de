"""Check what this project assumes of GPUs, on this machine's; docs/gpu-checklist.md says how and why.

Exit status: 0 when all assumptions hold, 1 when one does not, 2 where there is no GPU to check, or no MPS.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from kneescale.mps.daemon_process import ProgramMissingError
from tools.gpu_check import report
from tools.gpu_check.bench import Bench, NoGpuError, real_bench
from tools.gpu_check.check import Verdict, run_all
from tools.gpu_check.checks import CHECKS


def main(
    argv: Sequence[str] | None = None,
    make_bench: Callable[[Path | None], AbstractContextManager[Bench]] = real_bench,
) -> int:
    """Run the checks and write the report."""
    parser = argparse.ArgumentParser(prog="python -m tools.gpu_check", description=__doc__)
    parser.add_argument("--model", type=Path, help="a folder with model.pt and metadata.json, to time")
    parser.add_argument("--report", type=Path, default=Path("build/gpu-check.json"), help="where JSON goes")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO)
    try:
        with make_bench(arguments.model) as bench:
            outcomes = run_all(CHECKS, bench, lambda outcome: _say(report.line(outcome)))
            document = report.to_json(bench.gpu, outcomes)
    except (NoGpuError, ProgramMissingError) as error:
        _say(f"nothing checked: {error}")
        return 2
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(document)
    _say(f"{report.summary(outcomes)}; please send {arguments.report} back")
    return int(any(outcome.finding.verdict is Verdict.FAILS for outcome in outcomes))


_say = partial(print, flush=True)

if __name__ == "__main__":
    sys.exit(main())
