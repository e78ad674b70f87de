"""What a worker takes of its GPU, by how its lanes are made (ADR 21, ADR 30)."""

from collections.abc import Sequence
from dataclasses import dataclass

from kneescale.api.resource_slice import GpuDevice
from kneescale.core.tiers import Tier
from kneescale.core.units import WHOLE_GPU_PERCENT, ceil_div


@dataclass(frozen=True, slots=True)
class Footprint:
    """How many of each a worker is on its GPU."""

    processes: int
    #: CUDA contexts: MPS allows so many on a device, in however many processes (NVIDIA, Multi-Process
    #: Service, "Client-Server Connection Limits"). In an SM partition, the chunks of SMs that it has.
    clients: int
    #: Copies of the weights: memory of one context cannot be used in another.
    copies: int


#: Of a worker that measures (it makes green contexts in every tier), or that has no GPU yet.
ONE_PROCESS = Footprint(processes=1, clients=1, copies=1)


def least_footprint(device: GpuDevice) -> Footprint:
    """Of a worker on that device which serves with its smallest lane alone."""
    return footprint(device, device.lanes[:1])


def footprint(device: GpuDevice, lanes: Sequence[int]) -> Footprint:
    """Of a worker on that device which serves with these lanes (GPU%)."""
    count = len(lanes)
    match device.tier:
        case Tier.GREEN_CONTEXTS:
            return Footprint(processes=1, clients=1, copies=1)
        case Tier.MPS_CONTEXTS:
            # torch starts in a context of its own, which holds no weights.
            return Footprint(processes=1, clients=count + 1, copies=count)
        case Tier.MPS_PROCESSES:
            return Footprint(processes=count, clients=count, copies=count)
        case Tier.SM_PARTITIONS:
            return Footprint(processes=1, clients=_chunks(max(lanes), device.clients), copies=1)


def _chunks(gpu_percent: int, chunks: int) -> int:
    """A GPU% in whole chunks, of so many; rounded up."""
    return ceil_div(gpu_percent * chunks, WHOLE_GPU_PERCENT)
