"""What workers are told for when their agent is away: how each paces itself, and sees none of the others."""

from kneescale.core.dispatching.dispatcher import PartitionTerms
from kneescale.core.units import PERMILLE, WHOLE_GPU_PERCENT, ns_to_ms
from kneescale.core.wire import Terms

#: Twice its planned share, so that a worker can work off a queue...
_MOST_OF_PLAN = 2
#: ...and as much as Terms can say.
_LARGEST_SHARE_PERMILLE = 0xFFFF
#: Larger batches are cheaper and spare the worker's own core, which starts them alone; but the next request
#: waits for one.
_LONGEST_BATCH_PART_OF_SLO = 4


def terms_alone(terms: PartitionTerms, area_permille: int, planned_permille: int) -> Terms:
    """The terms of one partition, whose share of the GPU's area is planned, and that of all partitions.

    Each has its plan at least, and up to twice as much where the GPU has it; on lanes of its planned GPU%.
    """
    lane = terms.gpu_percent
    lanes = terms.lanes.count(lane) if terms.is_pool else WHOLE_GPU_PERCENT // lane
    fair_permille = area_permille * PERMILLE // max(1, planned_permille)
    wanted_permille = max(area_permille, min(_MOST_OF_PLAN * area_permille, fair_permille))
    return Terms(
        slo_ns=terms.slo_ns,
        batch=_batch(terms),
        gpu_percent=lane,
        share_permille=min(
            max(1, wanted_permille * WHOLE_GPU_PERCENT // lane), lanes * PERMILLE, _LARGEST_SHARE_PERMILLE
        ),
    )


def _batch(terms: PartitionTerms) -> int:
    """The largest batch that is soon over, if that is more than the planned one."""
    surface, longest_ms = terms.surface, ns_to_ms(terms.slo_ns) / _LONGEST_BATCH_PART_OF_SLO
    if surface is None:
        return terms.batch
    short = (b for b in surface.batches if surface.latency_ms(terms.gpu_percent, b) <= longest_ms)
    return max([terms.batch, *short])
