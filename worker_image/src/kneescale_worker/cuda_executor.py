"""TorchScript on an NVIDIA GPU, in lanes; seen to work on an H200 (docs/gpu-checklist.md)."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kneescale.core.surfaces.kernel_work import KernelWork
from kneescale_worker.artefact import ModelMetadata, check_outputs, read_metadata
from kneescale_worker.errors import ContextLostError, LoadError
from kneescale_worker.lanes import Lanes, LaneUse
from kneescale_worker.launch_threads import LaunchThreads
from kneescale_worker.tensors import Array
from kneescale_worker.torchscript import (
    FAILS_ON_ZEROS,
    READ_ERRORS,
    WEIGHTS_FILE,
    as_load_error,
    one_line,
    tensors_of,
    zeros,
)
from kneescale_worker.warm_up import size_to_run, warm_up_runs

_DEVICE = "cuda:0"
#: Of torch on the host, which only copies batches: by itself it would take a thread for each core of the
#: node, in each lane's process, and those spin for a while after each copy.
_HOST_THREADS = 1
_RUN_ERRORS = (RuntimeError, TypeError, torch.jit.Error, ContextLostError)


class _Warm(threading.local):
    """The sizes that the thread which asks has warmed up, in ascending order."""

    sizes: Sequence[int] = ()


class CudaExecutor:
    """Runs a TorchScript module; weights stay on the device, batches go there and back on a lane's stream.

    `at_once` batches run side by side; more wait. Each has a size that its thread has run before (ADR 36).
    """

    emulated = False

    def __init__(self, model_dir: Path, lanes: Lanes, max_batch: int, at_once: int) -> None:
        self.metadata: ModelMetadata = read_metadata(model_dir)
        self._weights = model_dir / WEIGHTS_FILE
        self._lanes = lanes
        self._max_batch = max_batch
        #: For each of the lanes' homes.
        self._modules: list[Any] = []
        self._pools: list[Any] = []
        self._threads = LaunchThreads(at_once)
        self._warm = _Warm()

    @property
    def lane_sms(self) -> Mapping[int, int]:
        """What the driver says."""
        return self._lanes.sms

    def load(self) -> None:
        """Make the lanes, and read the module once for each of their homes."""
        torch.set_num_threads(_HOST_THREADS)
        with as_load_error(f"cannot load {self._weights}", *READ_ERRORS):
            # Makes the primary context, and leaves it current, as the lanes need it.
            torch.zeros(1, device=_DEVICE)
            self._lanes.open()
            for home in range(self._lanes.homes):
                self._load_at(home)

    def warm_up(self) -> None:
        """Run batches of many sizes in every home and thread, some on every lane; compare with the metadata.

        The first of its size chooses and loads kernels: 40 ms for a ResNet-50 on an H200 where others take
        3 ms, and over a second for an EfficientNetV2-L.
        """
        with as_load_error(FAILS_ON_ZEROS, *_RUN_ERRORS):
            self._threads.on_each(self._warm_up)

    def run(self, gpu_percent: int, inputs: Sequence[Array]) -> list[Array]:
        """Copy the inputs to the device, run, copy the outputs back; over when they have arrived.

        Raises ContextLostError where every batch after this one would fail as well.
        """
        return self._threads.run(lambda: self._run(gpu_percent, inputs))

    def _warm_up(self, thread: int) -> None:
        ran: set[int] = set()
        for gpu_percent, batch in warm_up_runs(self._lanes, self._max_batch, every_lane=thread == 0):
            check_outputs(self.metadata, self._run(gpu_percent, zeros(self.metadata, batch)))
            ran.add(batch)
        self._warm.sizes = sorted(ran)

    def _run(self, gpu_percent: int, inputs: Sequence[Array]) -> list[Array]:
        items = len(inputs[0])
        size = size_to_run(items, self._warm.sizes)
        try:
            with self._lanes.use(gpu_percent) as lane:
                outputs = self._run_on(lane, [_padded(array, size) for array in inputs])
        except LoadError as error:
            # The driver refuses to make a dead context current, or to take it off.
            raise _lost(error) from error
        return [output[:items] for output in outputs]

    def _run_on(self, lane: LaneUse, inputs: Sequence[Array]) -> list[Array]:
        stream = torch.cuda.ExternalStream(lane.stream, device=_DEVICE)
        try:
            tensors = self._launch(lane.home, stream, inputs)
            # This thread alone waits: torch lets go of the interpreter meanwhile.
            stream.synchronize()
        except Exception:
            _check_context(stream)
            raise
        return [tensor.numpy() for tensor in tensors]

    def _launch(self, home: int, stream: Any, inputs: Sequence[Array]) -> list[Any]:  # noqa: ANN401
        """The outputs, which hold their values once the stream has got so far."""
        with (
            torch.inference_mode(),
            # TorchScript would compile the model anew for one batch size after the other, up to 0.3 s
            # each for a ResNet-50 on an H200, and gain nothing.
            torch.jit.optimized_execution(False),
            torch.cuda.stream(stream),
            self._memory_of(home),
        ):
            answer = self._modules[home](*(_to_device(array) for array in inputs))
            return [_to_host(tensor) for tensor in tensors_of(answer)]

    def kernels(self) -> list[KernelWork]:
        """The work of the kernels that a batch launches, in their order.

        Raises LoadError where they cannot be told.
        """
        # Only here: on its way in, it complains of what this image has no use for.
        from kneescale_worker.kernels import read_kernels

        with as_load_error(FAILS_ON_ZEROS, *_RUN_ERRORS), self._lanes.at_home(0), self._memory_of(0):
            return read_kernels(
                self._modules[0],
                lambda batch: [_to_device(array) for array in zeros(self.metadata, batch)],
            )

    def close(self) -> None:
        """The process's end frees all; Python ends after the threads whose batches still run."""

    def _load_at(self, home: int) -> None:
        self._pools.append(torch.cuda.MemPool() if self._lanes.homes > 1 else None)
        with self._lanes.at_home(home), self._memory_of(home):
            module = torch.jit.load(str(self._weights), map_location=_DEVICE).eval()
            self._modules.append(module.to(memory_format=torch.channels_last))
            # Weights were copied on another stream than the lanes'.
            torch.cuda.synchronize()

    def _memory_of(self, home: int) -> AbstractContextManager[Any]:
        """Memory of this home alone: torch keeps one store for a device, and would mix that of contexts."""
        pool = self._pools[home]
        return nullcontext() if pool is None else torch.cuda.use_mem_pool(pool)


def _check_context(stream: Any) -> None:  # noqa: ANN401
    """Raise ContextLostError after a failure of CUDA that every later call is told again.

    Such are errors of kernels, as a device-side assertion ("The context cannot be used anymore, and must be
    destroyed"; NVIDIA, CUDA Driver API, CUDA_ERROR_ASSERT), and faults of MPS; one of torch itself is not.
    """
    try:
        stream.synchronize()
    except RuntimeError as error:
        raise _lost(error) from error


def _lost(error: Exception) -> ContextLostError:
    return ContextLostError(f"the CUDA context is lost: {one_line(error)}")


def _padded(array: Array, size: int) -> Array:
    """With items of zeros behind it, as many as are missing."""
    missing = size - len(array)
    return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1)) if missing else array


def _to_device(array: Array) -> Any:  # noqa: ANN401  (torch has no types here)
    """From pinned memory, so that the copy is one on the lane's stream and the host does not wait for it."""
    tensor = torch.from_numpy(array).pin_memory().to(_DEVICE, non_blocking=True)
    return tensor.contiguous(memory_format=torch.channels_last) if array.ndim == 4 else tensor


def _to_host(tensor: Any) -> Any:  # noqa: ANN401
    """Into pinned memory likewise; it holds the values only once the stream has got so far."""
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)
