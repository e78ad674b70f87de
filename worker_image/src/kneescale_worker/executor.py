"""The port behind which a batch runs, and the choice of what stands behind it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from kneescale.core.backends import Backend, ModelFormat
from kneescale.core.surfaces.kernel_work import KernelWork
from kneescale.core.tiers import Tier
from kneescale_worker.artefact import ModelMetadata, read_metadata
from kneescale_worker.lane_processes import LaneProcesses
from kneescale_worker.lanes import most_at_once
from kneescale_worker.settings import Settings
from kneescale_worker.tensors import Array


class Executor(Protocol):
    """Runs batches of one model on lanes.

    `load` and `warm_up` are called once, in this order, before any `run`. `run` is called from several
    threads at once, one per lane in use.
    """

    @property
    def metadata(self) -> ModelMetadata:
        """What the model takes and answers; known before `load`."""

    @property
    def emulated(self) -> bool:
        """Whether the batches are only waited out, so that the answers mean nothing."""

    @property
    def lane_sms(self) -> Mapping[int, int]:
        """SMs of each lane by its GPU%, read back from the driver by `load`; empty where there are none."""

    def load(self) -> None:
        """Bring the weights in.

        Raises LoadError.
        """

    def warm_up(self) -> None:
        """Run what makes the first real batch slow, and check that the model is what its metadata says.

        Raises LoadError.
        """

    def run(self, gpu_percent: int, inputs: Sequence[Array]) -> list[Array]:
        """Run one batch on a lane: inputs and outputs in the metadata's order, batch first.

        The inputs belong to the callee, which may overwrite them. Raises ExecutorError when the lane fails,
        ContextLostError when no batch can run here any more, and whatever the model raises.
        """

    def close(self) -> None:
        """Let go of what `load` took, after the batches that run; nothing is run any more."""


class LocalExecutor(Executor, Protocol):
    """One with the model in this very process, where its kernels can be read."""

    def kernels(self) -> Sequence[KernelWork]:
        """What each kernel of the loaded model has to do, in the order of their launch.

        Raises LoadError where there are none to read.
        """


def make_executor(settings: Settings) -> Executor:
    """What runs this worker's batches; nothing is loaded yet.

    Raises LoadError when the model's metadata is missing or wrong, or the catalog lacks it.
    """
    if settings.tier is Tier.MPS_PROCESSES:
        return LaneProcesses(settings, _metadata(settings))
    return make_local_executor(settings, most_at_once(settings.lanes))


def make_local_executor(settings: Settings, at_once: int = 1) -> LocalExecutor:
    """What runs batches in this very process, so many side by side on a GPU; see `make_executor`."""
    # Imported only when needed: torch takes seconds, and an emulated worker runs without it.
    if settings.model_format is ModelFormat.EMULATED:
        from kneescale_worker.emulated_executor import EmulatedExecutor

        return EmulatedExecutor(settings.model_uri, settings.product)
    if settings.backend is Backend.CUDA_MPS:
        from kneescale_worker.cuda_executor import CudaExecutor
        from kneescale_worker.cuda_lanes import make_lanes

        return CudaExecutor(settings.model_dir, make_lanes(settings), settings.max_batch, at_once)
    from kneescale_worker.torch_executor import TorchExecutor

    return TorchExecutor(settings.model_dir, settings.cores)


def _metadata(settings: Settings) -> ModelMetadata:
    """Without torch, which only the lanes' processes need."""
    if settings.model_format is ModelFormat.EMULATED:
        return make_local_executor(settings).metadata
    return read_metadata(settings.model_dir)
