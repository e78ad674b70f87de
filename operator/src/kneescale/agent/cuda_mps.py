"""The `cuda-mps` backend: NVIDIA GPUs, each shared by the workers of one MPS control daemon.

Written to NVIDIA's documents; docs/gpu-checklist.md says what was seen on a GPU.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from threading import Event

from kneescale.agent import gpu_abilities
from kneescale.agent.backend import (
    ContainerEdits,
    ContextLosses,
    Device,
    GpuDetails,
    Mount,
    Share,
    Trouble,
    attribute_text,
)
from kneescale.agent.daemon_watch import DaemonWatch
from kneescale.agent.gpu_health import GPU_LOST
from kneescale.agent.gpu_library import Version
from kneescale.agent.gpu_monitor import GpuMonitor, GpuState, MonitoredGpu
from kneescale.agent.mps_daemons import WantedDaemons
from kneescale.core import worker_variables
from kneescale.core.backends import Backend
from kneescale.core.tiers import Tier
from kneescale.core.units import MIB
from kneescale.mps.partition_files import PartitionFiles, forget_others
from kneescale.mps.paths import pipe_dir
from kneescale.mps.status import DaemonStatus

_LANE_PERCENT_STEP = 10
#: The kind of the CDI devices that NVIDIA's Container Toolkit describes, one named after each GPU's UUID.
_NVIDIA_CDI_KIND = "nvidia.com/gpu"
#: Through it servers and clients pass memory to each other, so both have the node's own (ADR 22).
_SHM = "/dev/shm"
#: Where a worker in an SM partition finds which one it has.
_PARTITION_DIR = "/run/kneescale-sm"
#: Product names as the datasheets have them, where the driver's are others (appendix of the driver's README,
#: "Supported NVIDIA GPU Products").
_PRODUCTS = {"H100-80GB-HBM3": "H100-SXM5-80GB", "H100-PCIe": "H100-PCIe-80GB"}
_STUCK = Trouble(
    "DriverHangs", "the driver has not answered for a minute; see the node's kernel log, and reboot the node"
)


class CudaMpsBackend:
    """The GPUs that a monitor sees and that MPS can share; `forced_tier` is None where each has its best."""

    name = Backend.CUDA_MPS.value

    def __init__(
        self,
        monitor: GpuMonitor,
        state_dir: Path,
        worker_uid: int,
        forced_tier: Tier | None,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._monitor = monitor
        self._state_dir = state_dir
        self._worker_uid = worker_uid
        self._now_ns = now_ns
        self._daemons = WantedDaemons(state_dir, worker_uid, now_ns)
        self._watch = DaemonWatch(state_dir, self._daemons.wanted_for_ns, now_ns)
        self._forced_tier = forced_tier

    @property
    def knows_devices(self) -> bool:
        """Whether all GPUs answered once, or had the time for it."""
        return self._monitor.knows_gpus

    def devices(self) -> tuple[Device, ...]:
        """The GPUs that can be shared, sick ones among them."""
        state = self._monitor.state
        return tuple(self._device(gpu, state) for gpu in self._shared(state))

    def troubles(self) -> tuple[Trouble, ...]:
        """Why there is no GPU, or why one is left alone."""
        if not self._monitor.knows_gpus:
            return (_STUCK,) if self._monitor.is_stuck else ()
        state = self._monitor.state
        if state.error is not None:
            return (Trouble(state.error.reason, str(state.error)),)
        if not state.gpus and not state.nameless_lost:
            return (Trouble("NoGpus", "the driver has no GPU that answers; ask nvidia-smi on the node"),)
        of_all = ((_STUCK,) if self._monitor.is_stuck else ()) + _lost_unseen(state)
        obstacles = (self._obstacle(gpu, state) or self._daemon_trouble(gpu) for gpu in state.gpus)
        return of_all + tuple(obstacle for obstacle in obstacles if obstacle is not None)

    def context_losses(self) -> Mapping[str, ContextLosses]:
        """As the MPS daemons' program counts them (ADR 22)."""
        uuids = (gpu.reading.uuid for gpu in self._shared(self._monitor.state))
        statuses = {_name(uuid): self._watch.status(uuid) for uuid in uuids}
        return {name: self._losses(status) for name, status in statuses.items() if status is not None}

    def container_edits(self, device: Device, share: Share) -> ContainerEdits:
        """The GPU with the driver's libraries, and the way to its MPS daemon.

        Device files and libraries come with the Container Toolkit's CDI device. CUDA_VISIBLE_DEVICES is not
        set: the container sees that GPU alone, and MPS numbers anew what clients see. Nor is the GPU%: the
        daemon's is 100, and the worker gives each of its lanes its own.
        """
        # A socket's path is the same for daemon and client.
        pipes = str(pipe_dir(self._state_dir, device.uuid))
        env = {worker_variables.CORES: "", "CUDA_MPS_PIPE_DIRECTORY": pipes}
        # Clients lock a file in the first and make files in the second.
        mounts = [Mount(pipes, pipes, writable=True), Mount(_SHM, _SHM, writable=True)]
        if share.memory_bytes:
            # The limit is a process's own: clients in one process share it.
            processes = share.clients if device.tier is Tier.MPS_PROCESSES else 1
            env["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = f"0={share.memory_bytes // processes // MIB}M"
        if device.tier is Tier.MPS_CONTEXTS:
            env["CUDA_MPS_ENABLE_PER_CTX_DEVICE_MULTIPROCESSOR_PARTITIONING"] = "1"
        if device.tier is Tier.SM_PARTITIONS:
            env[worker_variables.SM_PARTITION_DIR] = _PARTITION_DIR
            folder = PartitionFiles(self._state_dir, device.uuid).folder(share.claim_uid)
            mounts.append(Mount(str(folder), _PARTITION_DIR))
        return ContainerEdits(
            env=env, mounts=tuple(mounts), cdi_devices=(f"{_NVIDIA_CDI_KIND}={device.uuid}",)
        )

    def reserve(self, device: Device, share: Share) -> None:
        """Ask for the claim's SM partition, in the tier that has them: its clients are chunks."""
        if device.tier is Tier.SM_PARTITIONS:
            files = PartitionFiles(self._state_dir, device.uuid)
            files.ask(share.claim_uid, share.clients, self._worker_uid)

    def release_others(self, claim_uids: Collection[str]) -> None:
        """Ask for that no more; also on a GPU that is away, which would have it when it is back."""
        forget_others(self._state_dir, claim_uids)

    def run(self, stop: Event) -> None:
        """Keep asking the driver, and asking for MPS daemons, until `stop`."""
        self._monitor.run(stop, self._want_daemons)

    def _want_daemons(self) -> None:
        """A daemon for each GPU that can be reached, also a sick one: its workers are still being moved.

        A driver that cannot be asked tells nothing: daemons that run go on.
        """
        if self._monitor.state.error is None:
            self._daemons.update([device for device in self.devices() if device.sickness != GPU_LOST])

    def _shared(self, state: GpuState) -> Iterator[MonitoredGpu]:
        return (gpu for gpu in state.gpus if self._obstacle(gpu, state) is None)

    def _daemon_trouble(self, gpu: MonitoredGpu) -> Trouble | None:
        uuid = gpu.reading.uuid
        closure = self._watch.closure(uuid)
        return Trouble(closure.reason, closure.message, device=_name(uuid)) if closure else None

    def _losses(self, status: DaemonStatus) -> ContextLosses:
        # What seems still to come was before the node started: no worker is as old.
        last_ns = status.lost_ns if status.lost_ns <= self._now_ns() else 0
        return ContextLosses(status.losses, status.line, last_ns)

    def _sickness(self, gpu: MonitoredGpu) -> str:
        """Its own, or that of a daemon that is not soon as it should be."""
        closure = self._watch.closure(gpu.reading.uuid)
        return gpu.sickness or (closure.reason if closure and closure.is_lasting else "")

    def _tier(self, gpu: MonitoredGpu, state: GpuState) -> Tier:
        return self._forced_tier or gpu_abilities.tiers(state.cuda, gpu.reading.compute_capability)[0]

    def _obstacle(self, gpu: MonitoredGpu, state: GpuState) -> Trouble | None:
        """Why a GPU is left alone, if it is."""
        reading = gpu.reading
        if reading.mig_enabled:
            return Trouble(
                "MigEnabled",
                f"GPU {reading.uuid} is in MIG mode and left alone; to share it, label the node "
                f"kneescale.dev/gpu=false, run nvidia-smi -i {reading.uuid} -mig 0, and take the label off",
            )
        if not gpu_abilities.can_be_shared(reading.compute_capability):
            return Trouble(
                "GpuTooOld",
                f"GPU {reading.uuid} has compute capability {reading.compute_capability}; "
                "MPS needs 7.0 (Volta)",
            )
        allowed = gpu_abilities.tiers(state.cuda, reading.compute_capability)
        if self._forced_tier is not None and self._forced_tier not in allowed:
            return Trouble(
                "TierNotPossible",
                f"the driver's CUDA {state.cuda} has no {self._forced_tier} on a GPU of compute capability "
                f"{reading.compute_capability}: it needs {gpu_abilities.needs(self._forced_tier)}; else set "
                f"KNEESCALE_TIER to {' or '.join(allowed)}",
            )
        if not _sm_count(gpu):
            return Trouble(
                "SmsNotKnown",
                f"how many SMs GPU {reading.uuid} of compute capability {reading.compute_capability} has is "
                "not known here, so it cannot be shared; a newer agent may know",
            )
        return None

    def _device(self, gpu: MonitoredGpu, state: GpuState) -> Device:
        reading = gpu.reading
        capability = reading.compute_capability
        sm_count = _sm_count(gpu)
        tier = self._tier(gpu, state)
        return Device(
            name=_name(reading.uuid),
            uuid=reading.uuid,
            product_name=product_name(reading.name),
            memory_bytes=reading.memory_bytes,
            clients=gpu_abilities.sm_chunks(sm_count, capability)
            if tier is Tier.SM_PARTITIONS
            else gpu_abilities.client_limit(state.cuda),
            lane_percent_step=_LANE_PERCENT_STEP,
            sm_count=sm_count,
            tier=tier,
            sickness=self._sickness(gpu),
            gpu=GpuDetails(
                compute_capability=_semantic(capability),
                driver_version=_semantic(state.driver),
                cuda_driver_version=_semantic(state.cuda),
                mps_protocol=gpu_abilities.mps_protocol(state.driver),
                static_partitions=gpu_abilities.has_static_partitions(state.cuda, capability),
            ),
        )


def _sm_count(gpu: MonitoredGpu) -> int:
    return gpu_abilities.sm_count(gpu.reading.core_count, gpu.reading.compute_capability)


def _lost_unseen(state: GpuState) -> tuple[Trouble, ...]:
    if not state.nameless_lost:
        return ()
    message = (
        f"GPUs that the driver lists but cannot reach: {state.nameless_lost}; see the node's kernel log, and "
        "reboot the node"
    )
    return (Trouble(GPU_LOST, message),)


def product_name(name: str) -> str:
    """The driver's name of a product ("NVIDIA A100-SXM4-40GB", "Tesla T4") as datasheets have it."""
    short = "-".join(word for word in name.split() if word not in ("NVIDIA", "Tesla"))
    return attribute_text(_PRODUCTS.get(short, short))


def _name(uuid: str) -> str:
    """A device name that stays with its GPU: minor numbers move when a GPU is missing after a reboot."""
    return f"gpu-{uuid.removeprefix('GPU-')[:8].lower()}"


def _semantic(version: Version) -> str:
    return f"{version}.0"
