"""What follows from a GPU's compute capability and its driver: SMs, limits of MPS, the tier of lanes."""

from kneescale.agent.gpu_library import Version
from kneescale.core.tiers import MPS_CLIENTS, Tier

#: CUDA cores of one SM: NVIDIA, CUDA samples, helper_cuda.h, and the architectures' white papers.
#: NVML counts cores alone (nvmlDeviceGetNumGpuCores); its count of SMs is for MIG devices only.
_CORES_PER_SM = {
    Version(7, 0): 64,
    Version(7, 2): 64,
    Version(7, 5): 64,
    Version(8, 0): 64,
    Version(8, 6): 128,
    Version(8, 7): 128,
    Version(8, 9): 128,
    Version(9, 0): 128,
    Version(10, 0): 128,
    Version(10, 1): 128,
    Version(10, 3): 128,
    Version(11, 0): 128,
    Version(12, 0): 128,
    Version(12, 1): 128,
}
#: Volta (and CUDA 9.0): the first whose MPS clients may have a percentage (NVIDIA, Multi-Process Service).
_FIRST_WITH_PERCENTAGES = Version(7, 0)
#: Ampere, and CUDA 13.1: static SM partitions (there, "Enabling static SM partitioning").
_FIRST_WITH_STATIC_PARTITIONS = Version(8, 0)
_CUDA_WITH_STATIC_PARTITIONS = Version(13, 1)
#: SMs in a chunk of them: until Hopper, and since (there, "Static SM Partitioning").
_CHUNK_SMS_BEFORE_HOPPER, _CHUNK_SMS = 4, 8
_HOPPER = Version(9, 0)
#: r615: the control daemon's protocol 3 (there, "MPS v3 Interface").
_DRIVER_WITH_MPS_V3 = 615
#: Clients of one device since CUDA 13.1 (there, "Limitations"); until then MPS_CLIENTS.
_CLIENTS_SINCE_13_1 = 60
#: What CUDA in the driver and what compute capability a tier needs, the best tier first where several models
#: share a GPU: caps of several processes take SMs that are free, green contexts of several may be made of the
#: same ones (ADR 21).
_NEEDS = {
    Tier.MPS_PROCESSES: (Version(9, 0), _FIRST_WITH_PERCENTAGES),
    # Contexts of one client with shares of their own (Multi-Process Service,
    # CUDA_MPS_ENABLE_PER_CTX_DEVICE_MULTIPROCESSOR_PARTITIONING).
    Tier.MPS_CONTEXTS: (Version(11, 4), _FIRST_WITH_PERCENTAGES),
    # What PyTorch's green contexts are built with (PyTorch, CUDAGreenContextMacros.h).
    Tier.GREEN_CONTEXTS: (Version(12, 8), _FIRST_WITH_PERCENTAGES),
    # Never the first: SMs that are reserved are shared in space alone (ADR 30).
    Tier.SM_PARTITIONS: (_CUDA_WITH_STATIC_PARTITIONS, _FIRST_WITH_STATIC_PARTITIONS),
}


def sm_count(core_count: int, compute_capability: Version) -> int:
    """The SMs of a GPU; 0 where the cores of one are not known."""
    cores = _CORES_PER_SM.get(compute_capability)
    return core_count // cores if cores else 0


def can_be_shared(compute_capability: Version) -> bool:
    """Whether MPS can give clients of this GPU a GPU% at all."""
    return compute_capability >= _FIRST_WITH_PERCENTAGES


def client_limit(cuda: Version) -> int:
    """How many MPS clients one GPU may have at once."""
    return _CLIENTS_SINCE_13_1 if cuda >= _CUDA_WITH_STATIC_PARTITIONS else MPS_CLIENTS


def has_static_partitions(cuda: Version, compute_capability: Version) -> bool:
    """Whether the control daemon's `-S` works on this GPU."""
    return Tier.SM_PARTITIONS in tiers(cuda, compute_capability)


def sm_chunks(sm_count: int, compute_capability: Version) -> int:
    """The chunks of SMs of a GPU that can have static partitions; its last SMs may fill none."""
    return sm_count // (_CHUNK_SMS if compute_capability >= _HOPPER else _CHUNK_SMS_BEFORE_HOPPER)


def mps_protocol(driver: Version) -> int:
    """The newest protocol of the control daemon: 3 (`-p 3`) or 2."""
    return 3 if driver.major >= _DRIVER_WITH_MPS_V3 else 2


def tiers(cuda: Version, compute_capability: Version) -> tuple[Tier, ...]:
    """The tiers of lanes that are possible on a GPU, the best first."""
    return tuple(
        tier
        for tier, (least_cuda, least_capability) in _NEEDS.items()
        if cuda >= least_cuda and compute_capability >= least_capability
    )


def needs(tier: Tier) -> str:
    """What a tier needs, for people."""
    cuda, compute_capability = _NEEDS[tier]
    return f"CUDA {cuda} in the driver and compute capability {compute_capability}"
