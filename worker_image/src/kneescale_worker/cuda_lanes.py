"""Which lanes of a GPU the settings ask for."""

from kneescale.core.tiers import Tier
from kneescale_worker.client_lane import ClientLane
from kneescale_worker.cuda_driver import LibCuda
from kneescale_worker.errors import LoadError
from kneescale_worker.green_contexts import GreenContextLanes
from kneescale_worker.lanes import Lanes
from kneescale_worker.mps_contexts import MpsContextLanes
from kneescale_worker.settings import Settings
from kneescale_worker.sm_partition import LARGEST_CHUNK_SMS, enter_partition


def make_lanes(settings: Settings) -> Lanes:
    """The lanes of this process, not made yet.

    Raises LoadError where there is no CUDA driver or no device, no MPS daemon, or no SM partition that there
    should be.
    """
    if settings.sm_partition_dir is not None:
        enter_partition(settings.sm_partition_dir)
    driver = LibCuda()
    if not driver.is_mps_client():
        # CUDA would go on without, and take the whole GPU.
        raise LoadError(
            "no MPS daemon answers, so lanes would have no limits; see the MPS daemons' container"
        )
    match settings.tier:
        case Tier.GREEN_CONTEXTS:
            return GreenContextLanes(driver, settings.lanes)
        case Tier.MPS_CONTEXTS:
            return MpsContextLanes(driver, settings.lanes)
        case Tier.MPS_PROCESSES:
            return ClientLane(driver, settings.lanes[0], settings.sm_count)
        case Tier.SM_PARTITIONS:
            return ClientLane(driver, settings.lanes[0], settings.sm_count, LARGEST_CHUNK_SMS)
