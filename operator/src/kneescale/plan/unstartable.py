"""Workers that the node of their GPU does not start.

It lacks CPU or memory, cannot pull an image, or somebody else's pod has a claim on the GPU; and Kubernetes
tries on for ever. Where another GPU has room the model goes there, after a minute; where none starts it, it
moves about after 2, 4 and 8 minutes.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from kneescale.api.conditions import ConditionStatus, find_condition, parse_time
from kneescale.api.inference_model import InferenceModel
from kneescale.plan.outlook import READY
from kneescale.plan.partitions import Partitions
from kneescale.plan.placing import Target
from kneescale.plan.state import Observed
from kneescale.plan.workloads import ModelKey

#: Problems of a pod that another node may not have.
_OF_A_NODE = frozenset({"Unschedulable", "ImagePullBackOff"})
_SHORTEST = timedelta(minutes=1)
_LONGEST = timedelta(minutes=8)


def find_unstartable(partitions: Mapping[ModelKey, Partitions], observed: Observed) -> tuple[Target, ...]:
    """The targets whose pod their node has not started for so long that another GPU is worth a try."""
    return tuple(target for each in partitions.values() for target in _unstartable(each, observed.now))


def _unstartable(partitions: Partitions, now: datetime) -> Iterator[Target]:
    made_at = {
        pod.metadata.name: parse_time(pod.metadata.created_at)
        for pod in partitions.pods
        if pod.problem and pod.problem.reason in _OF_A_NODE
        if pod.metadata.created_at and not pod.metadata.deleting
    }
    for target in partitions.starting:
        since = made_at.get(target.name)
        if since and now >= since + _patience(target.model, partitions, now):
            yield target


def _patience(model: InferenceModel, partitions: Partitions, now: datetime) -> timedelta:
    """While enough old workers answer nothing is urgent, and Ready does not say how often it was tried."""
    ready = find_condition(model.status.conditions, READY)
    if len(partitions.ready) >= len(partitions.wanted):
        return _LONGEST
    if ready is None or ready.status is not ConditionStatus.FALSE:
        return _SHORTEST
    without: timedelta = now - parse_time(ready.last_transition_time)
    return min(max(_SHORTEST, without / 2), _LONGEST)
