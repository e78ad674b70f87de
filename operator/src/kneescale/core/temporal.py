"""Plain temporal sharing: one batch at a time on the largest lane, earliest deadline first.

The baseline that the spatio-temporal policy is measured against, as good as sharing in time alone can be:
it never idles while work is queued, and cuts a batch where a smaller one still meets the head's deadline.
"""

from kneescale.core.device import DeviceState
from kneescale.core.partition import Partition
from kneescale.core.policy import Run, Wait


class Temporal:
    """The whole GPU for one batch at a time."""

    def next_run(self, device: DeviceState, now_ns: int) -> Run | Wait:
        """The batch of the earliest deadline that can be met; late work after all that is not."""
        if device.running:
            return Wait("a batch has the whole GPU")
        waiting = [partition for partition in device.partitions.values() if partition.can_run]
        if not waiting:
            return Wait("nothing is queued")
        runs = [_best_run(partition, now_ns) for partition in waiting]
        return min(runs)[-1]


def _best_run(partition: Partition, now_ns: int) -> tuple[bool, int, str, Run]:
    """Sort key (late, deadline, name) and the run: the most items that end by the head's deadline."""
    lane = partition.ready_costs.lanes[-1]
    most = min(partition.queued, partition.ready_costs.max_batch)
    fitting = partition.ready_costs.largest_batch(lane, most, partition.deadline_ns - now_ns)
    late = fitting == 0
    run = Run(partition.name, lane, most if late else fitting)
    return (late, partition.deadline_ns, partition.name, run)
