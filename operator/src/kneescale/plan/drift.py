"""Hardware drifts away from a profile: what workers measure of late corrects what the plan goes by."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from statistics import median

from kneescale.api.gpu_schedule import GPUSchedule, Partition
from kneescale.core.units import PERMILLE
from kneescale.plan.profiles import Profile, Subject, subject_of
from kneescale.plan.state import Observed

#: Corrections are whole tenths: less is noise, and would have the plan follow every shiver of it.
_TENTHS = 1
_LEAST = 0.1


def as_of_late(profiles: Mapping[Subject, Profile], observed: Observed) -> Mapping[Subject, Profile]:
    """The profiles, with how many times as long batches take of late as they say.

    The median over all partitions that serve from a profile and have seen enough batches; where none has,
    what it was before.
    """
    ratios: defaultdict[Subject, list[float]] = defaultdict(list)
    for subject, ratio in _ratios(profiles, observed):
        ratios[subject].append(ratio)
    slownesses = {subject: max(_LEAST, round(median(found), _TENTHS)) for subject, found in ratios.items()}
    return {
        subject: replace(profile, slowness=slownesses.get(subject, profile.slowness))
        for subject, profile in profiles.items()
    }


def _ratios(profiles: Mapping[Subject, Profile], observed: Observed) -> Iterator[tuple[Subject, float]]:
    """What was measured beside the profiles as they are: not beside an older one, nor a prediction."""
    models = {model.metadata.key: model for model in observed.models}
    for schedule in observed.schedules:
        for partition, permille in _reports(schedule):
            model = models.get((partition.namespace, partition.model))
            subject = subject_of(model, schedule.spec) if model else None
            profile = profiles.get(subject) if subject else None
            if model and subject and profile:
                surface = profile.points_of(partition.lanes, model.spec.max_batch)
                if surface == partition.surface:
                    yield subject, permille / PERMILLE


def _reports(schedule: GPUSchedule) -> Iterator[tuple[Partition, int]]:
    """What the agent measured of the schedule as it is, if it has taken it yet."""
    if schedule.status.observed_generation != schedule.metadata.generation:
        return
    for partition, status in schedule.reports:
        if status.latency_ratio_permille:
            yield partition, status.latency_ratio_permille
