"""Serve real models on this machine's GPU, as a node does, and compare; see docs/gpu-checklist.md.

Exit status: 0, 1 where a model could not be measured, or 2 where there is no GPU.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from kneescale.agent.cuda_mps import product_name
from kneescale.core import worker_variables
from kneescale.core.backends import Backend
from kneescale.core.tiers import Tier
from tools.gpu_check.bench import NoGpuError, RealBench, real_bench
from tools.gpu_trial import report, trial
from tools.gpu_trial.rig import NotMeasuredError, Platform, Rig
from tools.gpu_trial.subjects import torchscript_subjects

_MAX_BATCH = 32
_PROFILE_SECONDS = 30


def main(argv: Sequence[str] | None = None) -> int:
    """Run the trial and write the report."""
    parser = argparse.ArgumentParser(prog="python -m tools.gpu_trial", description=__doc__)
    parser.add_argument("--loads", type=float, nargs="+", default=[0.4, 0.6, 0.8], help="of the fluid bound")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each load")
    parser.add_argument("--report", type=Path, default=Path("build/gpu-trial.json"), help="where JSON goes")
    arguments = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="kst-") as folder, real_bench(None) as bench:
            _trial(bench, Path(folder), trial.Plan(arguments.loads, arguments.seconds), arguments.report)
    except NoGpuError as error:
        _say(f"nothing tried: {error}")
        return 2
    except NotMeasuredError as error:
        _say(str(error))
        return 1
    _say(f"written to {arguments.report}")
    return 0


def _trial(bench: RealBench, folder: Path, plan: trial.Plan, path: Path) -> None:
    models = folder / "models"
    # torch is not for this process, which is no client of the GPU.
    subprocess.run([sys.executable, "-m", "tools.gpu_trial.subjects", str(models)], check=True)
    rig = Rig(Platform(_env(bench), _MAX_BATCH, _PROFILE_SECONDS), folder)
    subjects = torchscript_subjects(models)
    _say(f"measuring {len(subjects)} models")
    surfaces, runs = rig.profiles(subjects), []
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written after each run: what was measured stays, whatever comes.
    for run in trial.run(rig, subjects, surfaces, plan, _say):
        runs.append(run)
        path.write_text(report.to_json(bench.gpu, surfaces, runs))
    for line in report.table(runs):
        _say(line)


def _env(bench: RealBench) -> dict[str, str]:
    return {
        **bench.env,
        worker_variables.BACKEND: Backend.CUDA_MPS,
        worker_variables.PRODUCT: product_name(bench.gpu["name"]),
        worker_variables.SM_COUNT: str(bench.client("sms").said["sms"]),
        worker_variables.TIER: Tier.MPS_PROCESSES,
    }


_say = partial(print, flush=True)

if __name__ == "__main__":
    sys.exit(main())
