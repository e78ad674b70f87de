"""Hardware drifts away from a profile: what workers measure of late corrects what the plan goes by."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from statistics import median

from kneescale.api.gpu_schedule import GPUSchedule
from kneescale.api.inference_model import InferenceModel
from kneescale.plan.profiles import Profile, Subject, subject_of
from kneescale.plan.state import Observed
from kneescale.plan.workloads import ModelKey

#: Corrections are whole tenths: less is noise, and would have the plan follow every shiver of it.
_TENTHS = 1


def as_of_late(profiles: Mapping[Subject, Profile], observed: Observed) -> Mapping[Subject, Profile]:
    """The profiles, with how many times as long batches take of late as they say.

    The median over all partitions that serve from a profile and have seen enough batches.
    """
    models = {model.metadata.key: model for model in observed.models}
    ratios: defaultdict[Subject, list[float]] = defaultdict(list)
    for schedule in observed.schedules:
        for subject, ratio in _ratios(schedule, models):
            ratios[subject].append(ratio)
    slownesses = {subject: round(median(found), _TENTHS) for subject, found in ratios.items()}
    return {
        subject: replace(profile, slowness=slownesses.get(subject, 1.0))
        for subject, profile in profiles.items()
    }


def _ratios(
    schedule: GPUSchedule, models: Mapping[ModelKey, InferenceModel]
) -> Iterator[tuple[Subject, float]]:
    spec = schedule.spec
    keys = {partition.name: (partition.namespace, partition.model) for partition in spec.partitions}
    for partition in schedule.status.partitions:
        model = models.get(keys.get(partition.name, ("", "")))
        if model and partition.latency_ratio_permille:
            yield subject_of(model, spec), partition.latency_ratio_permille / 1000
