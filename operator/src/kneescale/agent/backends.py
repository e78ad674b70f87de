"""Which backend the settings ask for."""

from kneescale.agent.backend import Backend
from kneescale.agent.cpu import CpuBackend
from kneescale.agent.cuda_mps import CudaMpsBackend
from kneescale.agent.emulated import EmulatedBackend
from kneescale.agent.gpu_monitor import GpuMonitor
from kneescale.agent.nvml import NvmlLibrary
from kneescale.agent.settings import Settings
from kneescale.core import backends
from kneescale.core.tiers import Tier


def make_backend(settings: Settings) -> Backend:
    """The backend of this node; where nothing tells which tier is best, it is the best of all.

    Raises InvalidInputError when the settings do not suit it.
    """
    if settings.backend is backends.Backend.CUDA_MPS:
        monitor = GpuMonitor(NvmlLibrary(settings.driver_root))
        return CudaMpsBackend(monitor, settings.state_dir, settings.worker_uid, settings.tier)
    tier = settings.tier or Tier.GREEN_CONTEXTS
    if settings.backend is backends.Backend.CPU:
        return CpuBackend(settings.node_name, tier)
    return EmulatedBackend(
        settings.node_name, settings.emulated_gpus, settings.emulated_product, settings.state_dir, tier
    )
