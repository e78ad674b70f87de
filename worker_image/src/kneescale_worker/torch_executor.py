"""TorchScript on CPU cores."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kneescale.core.cpu_lanes import lane_cores
from kneescale.core.surfaces.kernel_work import KernelWork
from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale_worker.artefact import ModelMetadata, check_outputs, read_metadata
from kneescale_worker.errors import LoadError
from kneescale_worker.tensors import Array
from kneescale_worker.torchscript import (
    FAILS_ON_ZEROS,
    READ_ERRORS,
    WARM_UP_RUNS,
    WEIGHTS_FILE,
    as_load_error,
    tensors_of,
    zeros,
)

# Before torch starts OpenMP: a lane's threads must leave their cores when its batch ends, not spin on them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

_RUN_ERRORS = (RuntimeError, TypeError, torch.jit.Error)


class TorchExecutor:
    """Runs a TorchScript module; a lane has as many threads as its part of the device has cores.

    Threads are not tied to single cores: the grants of a device sum up to at most its cores, and which of
    them other workers use now only the kernel's scheduler knows.
    """

    emulated = False
    lane_sms: Mapping[int, int] = MappingProxyType({})

    def __init__(self, model_dir: Path, cores: frozenset[int]) -> None:
        self.metadata: ModelMetadata = read_metadata(model_dir)
        self._weights = model_dir / WEIGHTS_FILE
        self._cores = cores
        self._module: Any = None
        try:
            # Threads started from here on, OpenMP's too, inherit it.
            os.sched_setaffinity(0, cores)
        except OSError as error:
            raise LoadError(f"cannot run on CPUs {sorted(cores)}: {error.strerror}") from error

    def load(self) -> None:
        """Read the module, with weights laid out for channels_last where they have four dimensions."""
        with as_load_error(f"cannot load {self._weights}", *READ_ERRORS):
            module = torch.jit.load(str(self._weights), map_location="cpu").eval()
            self._module = module.to(memory_format=torch.channels_last)

    def warm_up(self) -> None:
        """Run batches of one item, which compiles the module, and compare the answer with the metadata."""
        with as_load_error(FAILS_ON_ZEROS, *_RUN_ERRORS):
            for _ in range(WARM_UP_RUNS):
                outputs = self.run(WHOLE_GPU_PERCENT, zeros(self.metadata, 1))
        check_outputs(self.metadata, outputs)

    def run(self, gpu_percent: int, inputs: Sequence[Array]) -> list[Array]:
        """Run one batch on as many threads as the lane has cores."""
        _use_threads(lane_cores(len(self._cores), gpu_percent))
        with torch.inference_mode():
            answer = self._module(*(_tensor(array) for array in inputs))
        return [tensor.contiguous().numpy() for tensor in tensors_of(answer)]

    def kernels(self) -> list[KernelWork]:
        """The work of the kernels that a batch launches, in their order.

        Raises LoadError where they cannot be told.
        """
        # Only here: on its way in, it complains of what this image has no use for.
        from kneescale_worker.kernels import read_kernels

        _use_threads(len(self._cores))
        with as_load_error(FAILS_ON_ZEROS, *_RUN_ERRORS):
            return read_kernels(
                self._module, lambda batch: [_tensor(array) for array in zeros(self.metadata, batch)]
            )

    def close(self) -> None:
        """The process's end frees all."""


def _use_threads(count: int) -> None:
    """For the calling thread alone: OpenMP keeps the number for each, so lanes do not disturb each other."""
    # A thread's first use of torch takes over the number that any thread set last; get that behind us.
    torch.get_num_threads()
    torch.set_num_threads(count)


def _tensor(array: Array) -> Any:  # noqa: ANN401  (torch has no types here)
    tensor = torch.from_numpy(array)
    return tensor.contiguous(memory_format=torch.channels_last) if array.ndim == 4 else tensor
