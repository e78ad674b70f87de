"""Which surfaces models need, and which of them are to be measured."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kneescale.api.inference_model import InferenceModel
from kneescale.api.model_profile import ModelProfile, ProfileSource, Stack
from kneescale.api.resource_slice import GpuDevice
from kneescale.plan.profiles import Subject, subject_of


@dataclass(frozen=True, slots=True)
class Need:
    """A surface that models go by: a Job is made for `model`, on one of `devices`."""

    subject: Subject
    model: InferenceModel
    devices: tuple[GpuDevice, ...]
    #: The profile that there is.
    profile: ModelProfile | None = None
    #: What has changed since that was measured; empty where nothing has.
    outdated: str = ""

    @property
    def is_due(self) -> bool:
        """Whether it is to be measured; what was applied by hand is not measured over."""
        if self.profile is None or self.profile.spec.source is ProfileSource.PREDICTED:
            return True
        return bool(self.outdated) and self.profile.is_ours


def find_needs(
    eligible: Iterable[tuple[InferenceModel, tuple[GpuDevice, ...]]],
    known: Mapping[Subject, ModelProfile],
    worker_image: str,
) -> list[Need]:
    """The surfaces that models need; the first model by name that needs one stands for all."""
    devices_of: dict[Subject, tuple[InferenceModel, list[GpuDevice]]] = {}
    for model, devices in eligible:
        for device in devices:
            owner, found = devices_of.setdefault(subject_of(model, device), (model, []))
            if owner is model:
                found.append(device)
    needs = []
    for subject, (model, found) in devices_of.items():
        profile = known.get(subject)
        outdated = _outdated_in_words(profile.spec.stack or Stack(), found, worker_image) if profile else ""
        needs.append(Need(subject, model, tuple(found), profile, outdated))
    return needs


def _outdated_in_words(stack: Stack, devices: Sequence[GpuDevice], worker_image: str) -> str:
    """What has changed below all of the devices since `stack`; empty where nothing has.

    While a cluster is upgraded node by node, some of the GPUs still have the old driver: one is enough.
    """
    drivers = {device.driver_version for device in devices}
    if stack.driver_version and not drivers & {stack.driver_version, ""}:
        return f"measured with driver {stack.driver_version}, and now it is {', '.join(sorted(drivers))}"
    if stack.worker_image and stack.worker_image != worker_image:
        return f"measured with worker image {stack.worker_image}, and now it is {worker_image}"
    return ""
