"""What a worker takes of its GPU, by how its lanes are made (ADR 21)."""

from dataclasses import dataclass

from kneescale.api.vocabulary import Tier


@dataclass(frozen=True, slots=True)
class Footprint:
    """How many of each a worker is on its GPU."""

    processes: int
    #: CUDA contexts: MPS allows so many on a device, in however many processes (NVIDIA, Multi-Process
    #: Service, "Client-Server Connection Limits").
    clients: int
    #: Copies of the weights: memory of one context cannot be used in another.
    copies: int


#: Of a worker that measures (it makes green contexts in every tier), or that has no GPU yet.
ONE_PROCESS = Footprint(processes=1, clients=1, copies=1)


def footprint(tier: Tier, lanes: int) -> Footprint:
    """Of a worker that serves with so many lanes."""
    match tier:
        case Tier.GREEN_CONTEXTS:
            return Footprint(processes=1, clients=1, copies=1)
        case Tier.MPS_CONTEXTS:
            # torch starts in a context of its own, which holds no weights.
            return Footprint(processes=1, clients=lanes + 1, copies=lanes)
        case Tier.MPS_PROCESSES:
            return Footprint(processes=lanes, clients=lanes, copies=lanes)
