"""The port behind which lanes of a GPU are made, and what all of them must hold."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from kneescale.core.surfaces.gpu_products import CLUSTER_SMS, client_sms
from kneescale.core.tiers import Tier
from kneescale.core.units import WHOLE_GPU_PERCENT, ceil_div
from kneescale_worker.errors import LoadError


@dataclass(frozen=True, slots=True)
class LaneUse:
    """A lane while a batch runs on it: the CUDA stream (CUstream) to launch on, and whose weights to use."""

    stream: int
    home: int


class Lanes(Protocol):
    """The lanes of one process on its one GPU; several threads use them at once.

    Memory belongs to a CUDA context. A *home* is a context with a copy of the weights of its own; green
    contexts share one.
    """

    @property
    def homes(self) -> int:
        """How many copies of the weights the lanes need; known after `open`."""

    def homes_of(self, gpu_percent: int) -> int:
        """In how many homes batches on lanes of that GPU% run, one after the other in turn."""

    @property
    def sms(self) -> Mapping[int, int]:
        """SMs by GPU%, as the driver says; known after `open`."""

    def open(self) -> None:
        """Make the lanes, while the process's primary context is current, and read their SMs back.

        Raises LoadError where the driver cannot, or made something else than what was asked for.
        """

    def at_home(self, home: int) -> AbstractContextManager[None]:
        """Make the context of a home current for the calling thread, to load weights there."""

    def use(self, gpu_percent: int) -> AbstractContextManager[LaneUse]:
        """A lane of that GPU% for one batch; waits for a free one where it has to.

        Raises ExecutorError where there is none.
        """


def most_at_once(gpu_percents: Iterable[int]) -> int:
    """How many batches lanes of these GPU%s hold at once; the agent grants no more."""
    return WHOLE_GPU_PERCENT // min(gpu_percents)


def sms_for(gpu_percent: int, sm_count: int) -> int:
    """The SMs to ask for: the share, rounded up."""
    return ceil_div(sm_count * gpu_percent, WHOLE_GPU_PERCENT)


def served_sms(tier: Tier, gpu_percent: int, sm_count: int) -> int | None:
    """The SMs that a lane of the tier has when it serves; None where those of green contexts do."""
    match tier:
        case Tier.MPS_PROCESSES:
            return client_sms(sm_count, gpu_percent)
        case Tier.MPS_CONTEXTS:
            # Seen on an H200: 14 SMs where 14 were asked for, 28 for 27, 94 for 93.
            return ceil_div(sms_for(gpu_percent, sm_count), CLUSTER_SMS) * CLUSTER_SMS
        case Tier.GREEN_CONTEXTS | Tier.SM_PARTITIONS:
            # In SM partitions nothing is measured.
            return None


def check_sms(gpu_percent: int, sms: int, sm_count: int, unit: int) -> None:
    """Raise LoadError when a lane's SMs are further from its GPU% than rounding to `unit` SMs explains.

    A lane of another size than the profile's would run its batches at another pace than the schedule's.
    """
    share = sm_count * gpu_percent / WHOLE_GPU_PERCENT
    if abs(sms - share) >= max(unit, 1):
        raise LoadError(
            f"the lane of {gpu_percent} GPU% has {sms} SMs of {sm_count}; it should have {share:.1f}, "
            f"give or take {unit}. Is another limit set, by the MPS daemon or in this pod's environment?"
        )
