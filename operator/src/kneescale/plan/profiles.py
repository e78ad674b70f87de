"""Latency surfaces by what they were measured for: the ModelProfiles, and what each says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kneescale.api.gpu_schedule import GPUScheduleSpec
from kneescale.api.inference_model import InferenceModel
from kneescale.api.model_profile import ModelProfile, ModelProfileSpec
from kneescale.api.names import profile_name
from kneescale.api.resource_slice import GpuDevice
from kneescale.api.vocabulary import Backend, ModelFormat
from kneescale.core.surfaces.knee import find_knee
from kneescale.core.surfaces.surface import LatencySurface, Point

_US_PER_MS = 1000


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """What a profile is of: one model in one namespace, on one product."""

    namespace: str
    uri: str
    format: ModelFormat
    product_name: str
    backend: Backend

    @property
    def profile_name(self) -> str:
        """Name of the ModelProfile that the operator makes for it."""
        return profile_name(self.uri, self.format, self.product_name)


@dataclass(frozen=True, slots=True)
class Profile:
    """A usable profile: its name, its surface and the knee of it (None where latency falls to the end)."""

    name: str
    surface: LatencySurface
    knee_percent: int | None
    #: How many times as long as the surface says batches take of late.
    slowness: float = 1.0

    @property
    def surface_of_late(self) -> LatencySurface:
        """What plans go by; dispatchers get the surface as it is, and find its drift themselves."""
        return self.surface if self.slowness == 1 else self.surface.times(self.slowness)


def subject_of(model: InferenceModel, device: GpuDevice | GPUScheduleSpec) -> Subject:
    """What must be profiled to run `model` on devices of this kind; a schedule says that of its device."""
    source = model.spec.model
    return Subject(model.metadata.namespace, source.uri, source.format, device.product_name, device.backend)


def profiles_by_subject(profiles: Iterable[ModelProfile]) -> Mapping[Subject, Profile]:
    """The profile to use for each subject: one applied by hand, so without owners, rather than our own."""
    by_preference = sorted(profiles, key=lambda profile: (not profile.metadata.owners, profile.metadata.name))
    return {_subject(profile): make_profile(profile.metadata.name, profile.spec) for profile in by_preference}


def make_profile(name: str, spec: ModelProfileSpec) -> Profile:
    """The surface through a profile's points."""
    surface = LatencySurface.from_points(
        Point(point.gpu_percent, point.batch, point.latency_microseconds / _US_PER_MS)
        for point in spec.points
    )
    return Profile(name, surface, find_knee(surface))


def _subject(profile: ModelProfile) -> Subject:
    spec = profile.spec
    return Subject(profile.metadata.namespace, spec.model_uri, spec.format, spec.product_name, spec.backend)
