"""The `cuda-mps` backend: NVIDIA GPUs, each shared by the workers of one MPS control daemon.

Written to NVIDIA's documents; not run on a GPU yet.
"""

from pathlib import Path
from threading import Event

from kneescale.agent import gpu_abilities
from kneescale.agent.backend import ContainerEdits, Device, GpuDetails, Mount, Trouble, attribute_text
from kneescale.agent.gpu_library import GpuLibrary, GpuReading, Version
from kneescale.agent.gpu_monitor import GpuMonitor, GpuState, MonitoredGpu
from kneescale.api.vocabulary import Tier
from kneescale.mps.paths import pipe_dir, shm_dir

_MIB = 1024**2
_LANE_PERCENT_STEP = 10
#: The kind of the CDI devices that NVIDIA's Container Toolkit describes, one named after each GPU's UUID.
_NVIDIA_CDI_KIND = "nvidia.com/gpu"
#: Where clients look for the daemon by default (CUDA_MPS_PIPE_DIRECTORY).
_CONTAINER_PIPE_DIR = "/tmp/nvidia-mps"
#: Product names as the datasheets have them, where the driver's are others (appendix of the driver's README,
#: "Supported NVIDIA GPU Products").
_PRODUCTS = {"H100-80GB-HBM3": "H100-SXM5-80GB", "H100-PCIe": "H100-PCIe-80GB"}


_STUCK = Trouble(
    "DriverHangs", "the driver has not answered for a minute; see the node's kernel log, and reboot the node"
)


class CudaMpsBackend:
    """The GPUs that a monitor sees and that MPS can share; `forced_tier` is None where each has its best."""

    name = "cuda-mps"

    def __init__(self, library: GpuLibrary, state_dir: Path, forced_tier: Tier | None) -> None:
        self._monitor = GpuMonitor(library)
        self._monitor.look()
        self._state_dir = state_dir
        self._forced_tier = forced_tier

    def devices(self) -> tuple[Device, ...]:
        """The GPUs that can be shared, sick ones among them."""
        state = self._monitor.state
        return tuple(self._device(gpu, state) for gpu in state.gpus if not _obstacle(gpu.reading))

    def troubles(self) -> tuple[Trouble, ...]:
        """Why there is no GPU, or why one is left alone."""
        state = self._monitor.state
        if state.error is not None:
            return (Trouble(state.error.reason, str(state.error)),)
        if not state.gpus:
            return (Trouble("NoGpus", "the driver has no GPU that answers; ask nvidia-smi on the node"),)
        stuck = (_STUCK,) if self._monitor.is_stuck else ()
        return stuck + tuple(obstacle for gpu in state.gpus if (obstacle := _obstacle(gpu.reading)))

    def container_edits(self, device: Device, memory_bytes: int) -> ContainerEdits:
        """The GPU with the driver's libraries, and the way to its MPS daemon.

        Device files and libraries come with the Container Toolkit's CDI device. CUDA_VISIBLE_DEVICES is not
        set: the container sees that GPU alone, and MPS numbers anew what clients see. Nor is the GPU%: the
        daemon's is 100, and the worker gives each of its lanes its own.
        """
        env = {"KNEESCALE_CORES": "", "CUDA_MPS_PIPE_DIRECTORY": _CONTAINER_PIPE_DIR}
        if memory_bytes:
            env["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = f"0={memory_bytes // _MIB}M"
        if device.tier is Tier.MPS_CONTEXTS:
            env["CUDA_MPS_ENABLE_PER_CTX_DEVICE_MULTIPROCESSOR_PARTITIONING"] = "1"
        return ContainerEdits(
            env=env,
            mounts=(
                # Clients lock a file in the first and make files in the second.
                Mount(str(pipe_dir(self._state_dir, device.uuid)), _CONTAINER_PIPE_DIR, writable=True),
                Mount(str(shm_dir(self._state_dir, device.uuid)), "/dev/shm", writable=True),
            ),
            cdi_devices=(f"{_NVIDIA_CDI_KIND}={device.uuid}",),
        )

    def run(self, stop: Event) -> None:
        """Keep asking the driver until `stop`."""
        self._monitor.run(stop)

    def _device(self, gpu: MonitoredGpu, state: GpuState) -> Device:
        reading = gpu.reading
        capability = reading.compute_capability
        return Device(
            name=_name(reading.uuid),
            uuid=reading.uuid,
            product_name=product_name(reading.name),
            memory_bytes=reading.memory_bytes,
            clients=gpu_abilities.client_limit(state.cuda),
            lane_percent_step=_LANE_PERCENT_STEP,
            sm_count=gpu_abilities.sm_count(reading.core_count, capability),
            tier=self._forced_tier or gpu_abilities.best_tier(state.cuda),
            sickness=gpu.sickness,
            gpu=GpuDetails(
                compute_capability=_semantic(capability),
                driver_version=_semantic(state.driver),
                cuda_driver_version=_semantic(state.cuda),
                mps_protocol=gpu_abilities.mps_protocol(state.driver),
                static_partitions=gpu_abilities.has_static_partitions(state.cuda, capability),
            ),
        )


def product_name(name: str) -> str:
    """The driver's name of a product ("NVIDIA A100-SXM4-40GB", "Tesla T4") as datasheets have it."""
    short = "-".join(word for word in name.split() if word not in ("NVIDIA", "Tesla"))
    return attribute_text(_PRODUCTS.get(short, short))


def _obstacle(gpu: GpuReading) -> Trouble | None:
    """Why a GPU is left alone, if it is."""
    if gpu.mig_enabled:
        return Trouble(
            "MigEnabled",
            f"GPU {gpu.uuid} is in MIG mode and left alone; to share it, nvidia-smi -i {gpu.uuid} -mig 0",
        )
    if not gpu_abilities.can_be_shared(gpu.compute_capability):
        return Trouble(
            "GpuTooOld",
            f"GPU {gpu.uuid} has compute capability {gpu.compute_capability}; MPS needs 7.0 (Volta)",
        )
    return None


def _name(uuid: str) -> str:
    """A device name that stays with its GPU: minor numbers move when a GPU is missing after a reboot."""
    return f"gpu-{uuid.removeprefix('GPU-')[:8].lower()}"


def _semantic(version: Version) -> str:
    return f"{version}.0"
