"""A lane in a process of its own, from inside: batches come over a pipe, their tensors in shared memory."""

import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from kneescale.core.errors import KneescaleError
from kneescale_worker.batch_memory import BatchMemory
from kneescale_worker.errors import ContextLostError, ExecutorError
from kneescale_worker.tensors import Array
from kneescale_worker.torchscript import one_line

if TYPE_CHECKING:
    from kneescale_worker.executor import Executor

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LaneLink:
    """What the serving worker gives a lane: the file descriptors of its end of a pipe and of the memory."""

    connection: int
    memory: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model is loaded; `sms` is 0 where there are none."""

    sms: int


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Warm the model up, once, before anything else."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is warm."""


@dataclass(frozen=True, slots=True)
class Run:
    """Run the batch that lies in the memory."""

    gpu_percent: int
    batch: int


@dataclass(frozen=True, slots=True)
class Ran:
    """Its outputs lie in the memory."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The batch failed, and the lane goes on; or its start did."""

    reason: str


Request: TypeAlias = WarmUp | Run
Answer: TypeAlias = Loaded | Ready | Ran | Failed


def serve_lane(make_executor: "Callable[[], Executor]", link: LaneLink, max_batch: int) -> None:
    """Load the model and run batches until the serving worker closes the pipe, between two batches.

    A batch that cost the CUDA context ends it too.

    SIGTERM ends it while it loads, and never later: none is cut off in the middle of a kernel.
    """
    with Connection(link.connection) as connection:
        try:
            executor = make_executor()
            executor.load()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            connection.send(Loaded(sum(executor.lane_sms.values())))
            # Its turn to warm up.
            connection.recv()
            executor.warm_up()
        except KneescaleError as error:
            connection.send(Failed(str(error)))
            return
        except EOFError:
            return
        memory = BatchMemory(link.memory, executor.metadata, max_batch)
        connection.send(Ready())
        _run_batches(connection, executor, memory)


def _run_batches(connection: Connection, executor: "Executor", memory: BatchMemory) -> None:
    try:
        while True:
            connection.send(_answer(executor, memory, connection.recv()))
    except EOFError:
        return
    except ContextLostError as error:
        # Without an answer: the serving worker starts a process that ended anew.
        _log.error("ending: %s", error)


def _answer(executor: "Executor", memory: BatchMemory, request: Run) -> Ran | Failed:
    try:
        outputs = executor.run(request.gpu_percent, memory.inputs(request.batch))
        _store(outputs, memory.outputs(request.batch))
    except ContextLostError:
        raise
    except Exception as error:  # noqa: BLE001  (whatever a model raises is its batch's error, not the lane's)
        _log.exception("a batch failed")
        return Failed(one_line(error))
    return Ran()


def _store(outputs: Sequence[Array], places: Sequence[Array]) -> None:
    """Copy, where numpy would otherwise spread a single row over all, or round."""
    for output, place in zip(outputs, places, strict=True):
        if output.shape != place.shape or output.dtype != place.dtype:
            raise ExecutorError(
                f"the model answered {output.dtype} {list(output.shape)} where {place.dtype} "
                f"{list(place.shape)} was due"
            )
        np.copyto(place, output)
