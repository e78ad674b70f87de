"""Tier mps-processes: each lane is a process with weights and a GPU% of its own.

The GPU% of an MPS client cannot change once it runs (NVIDIA, Multi-Process Service, "Execution Resource
Provisioning"), so there is a process for each. It works on every backend: without a GPU, the lanes' processes
run what runs there.
"""

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from threading import Thread
from typing import TypeVar

import numpy as np

from kneescale.core.backends import Backend
from kneescale_worker.artefact import ModelMetadata
from kneescale_worker.batch_memory import BatchMemory
from kneescale_worker.errors import ContextLostError, ExecutorError, LoadError
from kneescale_worker.lane_child import Answer, Failed, Loaded, Ran, Ready, Request, Run, WarmUp
from kneescale_worker.lane_pool import LanePool
from kneescale_worker.settings import Settings
from kneescale_worker.tensors import Array

A = TypeVar("A", Loaded, Ready, Ran)
_log = logging.getLogger(__name__)
#: Before each attempt to start a dead lane again; after the last, a new worker may do better or tell why not.
_PAUSES_S = (0, 0.5, 1, 2, 4, 8, 16)


class LaneDiedError(ExecutorError):
    """The lane's process ended."""


class LaneProcess:
    """One lane's process, as the serving worker sees it."""

    def __init__(self, gpu_percent: int, metadata: ModelMetadata, max_batch: int) -> None:
        self.gpu_percent = gpu_percent
        self._memory = BatchMemory.create(metadata, max_batch)
        self._connection: Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._is_to_end = False

    def start(self) -> None:
        """Start the process, after the one of before has ended; it loads the model beside the others.

        Raises LoadError where the machine has no room for it.
        """
        try:
            self.close()
            self._start()
        except OSError as error:
            reason = f"the lane of {self.gpu_percent} GPU% gets no process: {error.strerror}"
            raise LoadError(reason) from error

    def _start(self) -> None:
        ours, theirs = Pipe()
        with theirs:
            descriptors = (theirs.fileno(), self._memory.descriptor)
            command = [sys.executable, "-m", "kneescale_worker.lane_main", str(self.gpu_percent)]
            self._process = subprocess.Popen(
                [*command, *map(str, descriptors)],
                pass_fds=descriptors,
                env={**os.environ, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": str(self.gpu_percent)},
            )
        self._connection, self._is_to_end = ours, False

    def wait_loaded(self) -> int:
        """Its SMs, once it has its weights.

        Raises LoadError.
        """
        with _as_load_error():
            return self._answer(Loaded).sms

    def warm_up(self) -> None:
        """Have it run what makes the first batches slow, after it has loaded.

        Raises LoadError.
        """
        with _as_load_error():
            self._send(WarmUp())
            self._answer(Ready)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Run a batch.

        Raises LaneDiedError when the process ended, ExecutorError when the batch failed.
        """
        batch = len(inputs[0])
        for array, place in zip(inputs, self._memory.inputs(batch), strict=True):
            np.copyto(place, array)
        self._send(Run(self.gpu_percent, batch))
        self._answer(Ran)
        # Copies, since the next batch overwrites the memory.
        return [place.copy() for place in self._memory.outputs(batch)]

    def end(self) -> None:
        """Have the process end: at once until it warms up, else after that or its batch (`serve_lane`)."""
        self._is_to_end = True
        if self._connection is None or self._process is None:
            return
        # It reads the end of our requests, and we can still read its last answer.
        with socket.socket(fileno=os.dup(self._connection.fileno())) as end:
            end.shutdown(socket.SHUT_WR)
        self._process.terminate()

    def close(self) -> None:
        """Let the process end, and wait until it has."""
        self.end()
        if self._connection is None or self._process is None:
            return
        self._process.wait()
        self._connection.close()
        self._connection = self._process = None

    def wait_dead(self) -> bool:
        """Wait until the process, which was started, has ended; whether nobody told it to."""
        process = self._process
        if process is not None:
            process.wait()
        return not self._is_to_end

    def _send(self, request: Request) -> None:
        # Whoever closes it does so in another thread.
        if (connection := self._connection) is None:
            raise self._died()
        try:
            connection.send(request)
        except OSError as error:
            raise self._died() from error

    def _answer(self, kind: type[A]) -> A:
        if (connection := self._connection) is None:
            raise self._died()
        try:
            answer: Answer = connection.recv()
        except (EOFError, OSError) as error:
            raise self._died() from error
        if not isinstance(answer, kind):
            raise ExecutorError(answer.reason if isinstance(answer, Failed) else f"it answered {answer}")
        return answer

    def _died(self) -> LaneDiedError:
        return LaneDiedError(f"the process of the lane of {self.gpu_percent} GPU% ended")


@contextmanager
def _as_load_error() -> Iterator[None]:
    try:
        yield
    except ExecutorError as error:
        raise LoadError(str(error)) from error


class LaneProcesses:
    """An Executor whose lanes are processes; one that dies fails the batch that it runs and is started again.

    Until it is, batches fail at once where no other lane has its GPU%.
    """

    def __init__(self, settings: Settings, metadata: ModelMetadata) -> None:
        self.metadata = metadata
        self.emulated = settings.backend is Backend.EMULATED
        self.lane_sms: dict[int, int] = {}
        self._lanes = [LaneProcess(percent, metadata, settings.max_batch) for percent in settings.lanes]
        self._pool = LanePool((lane.gpu_percent, lane) for lane in self._lanes)
        #: Why a lane does not start again.
        self._lost: ContextLostError | None = None

    def load(self) -> None:
        """Start all processes, which load at once, and have them warm up in turn: nobody granted that."""
        for lane in self._lanes:
            lane.start()
        sms = {lane.gpu_percent: lane.wait_loaded() for lane in self._lanes}
        for lane in self._lanes:
            lane.warm_up()
        for lane in self._lanes:
            Thread(target=self._tend, args=(lane,), name=f"tend-{lane.gpu_percent}", daemon=True).start()
        self.lane_sms = {percent: count for percent, count in sms.items() if count}

    def warm_up(self) -> None:
        """Each process has warmed up on its own."""

    def run(self, gpu_percent: int, inputs: Sequence[Array]) -> list[Array]:
        """Run one batch in a free process of that GPU%.

        Raises ContextLostError when a lane, this one or another, does not start again.
        """
        if self._lost is not None:
            raise self._lost
        lane = self._pool.take(gpu_percent)
        try:
            outputs = lane.run(inputs)
        except LaneDiedError:
            self._pool.lose(gpu_percent, lane)
            raise
        except BaseException:
            self._pool.give_back(gpu_percent, lane)
            raise
        self._pool.give_back(gpu_percent, lane)
        return outputs

    def close(self) -> None:
        """Let all processes end."""
        # Before any is waited for: those whose turn to warm up has not come get none.
        for lane in self._lanes:
            lane.end()
        for lane in self._lanes:
            lane.close()

    def _tend(self, lane: LaneProcess) -> None:
        """Start a lane's process again whenever it dies, whether in a batch or idle."""
        while lane.wait_dead():
            self._pool.retire(lane.gpu_percent, lane)
            try:
                _start_again(lane)
            except LoadError as error:
                reason = f"the lane of {lane.gpu_percent} GPU% does not start again: {error}"
                _log.error("%s", reason)
                self._lost = ContextLostError(reason)
                return
            self._pool.revive(lane.gpu_percent, lane)


def _start_again(lane: LaneProcess) -> None:
    """If need be several times; raises LoadError, as the last time did."""
    for pause_s in _PAUSES_S:
        time.sleep(pause_s)
        try:
            lane.start()
            lane.wait_loaded()
            lane.warm_up()
        except LoadError as error:
            failed = error
        else:
            return
    raise failed
