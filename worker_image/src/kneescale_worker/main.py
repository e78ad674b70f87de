"""The worker's command line: `python -m kneescale_worker serve|profile|predict|kernels`."""

import argparse
import asyncio
import json
import logging
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

from kneescale.core.errors import KneescaleError
from kneescale.core.tiers import Tier
from kneescale.core.worker_message import ERROR
from kneescale_worker.errors import ContextLostError, HungError
from kneescale_worker.executor import make_executor, make_local_executor
from kneescale_worker.predict import PredictionRequest, predict
from kneescale_worker.profile import profile
from kneescale_worker.serve import serve
from kneescale_worker.settings import configure_logs, parse_settings, termination_path

_log = logging.getLogger(__name__)

_MODEL_DIR_HELP = "holds model.pt and metadata.json"
#: A lane's thread waits at most this long for the interpreter while another one parses requests (Python's own
#: is 5 ms): a batch passes through several hands.
_SWITCH_INTERVAL_S = 0.0002
#: The last one says that it had loaded: the operator does not take that for a model that cannot load.
_EXIT_OK, _EXIT_ERROR, _EXIT_STARTS_ANEW = 0, 2, 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code. Why it failed also becomes a pod's termination message."""
    arguments = _parser().parse_args(argv)
    configure_logs(os.environ)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        arguments.run(arguments)
    except KneescaleError as error:
        if arguments.run is _kernels:
            sys.stderr.write(f"kneescale_worker: {error}\n")
        else:
            _log.error("ending: %s", error)
            _leave_message(termination_path(os.environ), {ERROR: str(error)})
        if isinstance(error, HungError):
            # A plain return would wait for the thread that hangs.
            _end_at_once(_EXIT_STARTS_ANEW)
        return _EXIT_STARTS_ANEW if isinstance(error, ContextLostError) else _EXIT_ERROR
    return _EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("kneescale_worker", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serving = commands.add_parser("serve", help="serve the model that KNEESCALE_* variables name")
    serving.set_defaults(run=_serve)
    profiling = commands.add_parser("profile", help="measure its latency surface, as the agent grants")
    profiling.set_defaults(run=_profile)
    predicting = commands.add_parser("predict", help="predict its latency surface from its kernels")
    predicting.add_argument("model_dir", metavar="MODEL_DIR", type=Path, help=_MODEL_DIR_HELP)
    predicting.add_argument("--product", required=True, help="GPU product, like V100-SXM2-16GB")
    predicting.add_argument("--lanes", required=True, type=_lanes, help="GPU%%, like 10,20,100")
    predicting.add_argument("--max-batch", required=True, type=int, help="most items of a batch")
    predicting.set_defaults(run=_predict)
    kernels = commands.add_parser(
        "kernels", help="print the work of a model's kernels as JSON, for `kneescale predict`"
    )
    kernels.add_argument("model_dir", metavar="MODEL_DIR", type=Path, help=_MODEL_DIR_HELP)
    kernels.set_defaults(run=_kernels)
    return parser


def _serve(_: argparse.Namespace) -> None:
    settings = parse_settings(os.environ)
    with ExitStack() as stack:
        executor = stack.enter_context(closing(make_executor(settings)))
        try:
            is_loaded = asyncio.run(serve(settings, executor))
        except HungError:
            # Closing would wait for the lane that hangs.
            stack.pop_all()
            raise
    if not is_loaded:
        # A plain return would wait for the thread that loads.
        _end_at_once(_EXIT_OK)


def _end_at_once(status: int) -> NoReturn:
    """Whatever threads still do."""
    sys.stderr.flush()
    os._exit(status)


def _profile(_: argparse.Namespace) -> None:
    settings = parse_settings(os.environ)
    # Each batch has the device to itself (ADR 21), and one copy of the weights does for all lanes.
    with closing(make_local_executor(replace(settings, tier=Tier.GREEN_CONTEXTS))) as executor:
        measured = asyncio.run(profile(settings, executor))
    _leave_message(settings.termination_path, measured.message())


def _predict(arguments: argparse.Namespace) -> None:
    request = PredictionRequest(arguments.model_dir, arguments.product, arguments.lanes, arguments.max_batch)
    _leave_message(termination_path(os.environ), predict(request))


def _lanes(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _kernels(arguments: argparse.Namespace) -> None:
    # Only here: an emulated worker runs without torch.
    from kneescale_worker.torch_executor import TorchExecutor

    # torch has some to give of what nobody who reads kernels can change.
    warnings.simplefilter("ignore")
    executor = TorchExecutor(arguments.model_dir, frozenset(os.sched_getaffinity(0)))
    executor.load()
    executor.warm_up()
    json.dump([asdict(kernel) for kernel in executor.kernels()], sys.stdout)
    sys.stdout.write("\n")


def _leave_message(path: Path, document: Mapping[str, Any]) -> None:
    """Write what the operator reads from the container's status (at most 4096 bytes)."""
    path.write_text(json.dumps(document, separators=(",", ":")))
