"""How a worker makes its lanes, and how many of them a GPU has room for."""

from enum import StrEnum

#: MPS clients of one GPU before CUDA 13.1 (60 since): one for each process of each worker on it.
MPS_CLIENTS = 48


class Tier(StrEnum):
    """How lanes are made, the best first (ADR 21); on the cpu and emulated backends what is imitated."""

    #: One process; any GPU% per batch, several batches at once.
    GREEN_CONTEXTS = "green-contexts"
    #: One process with contexts of fixed GPU%, made up front, each with its own copy of the weights.
    MPS_CONTEXTS = "mps-contexts"
    #: One process, with its own copy of the weights, for each lane.
    MPS_PROCESSES = "mps-processes"
    #: One process with one lane, whose SMs no other has; only where it is asked for (ADR 30).
    SM_PARTITIONS = "sm-partitions"

    @property
    def has_pools(self) -> bool:
        """Whether a lane is one thing that runs one batch at a time, so that several may have one GPU%."""
        return self is not Tier.GREEN_CONTEXTS
