"""Latency surfaces by what they are of: the ModelProfiles, and what each says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from kneescale.api.gpu_schedule import GPUScheduleSpec
from kneescale.api.inference_model import InferenceModel
from kneescale.api.model_profile import ModelProfile, ModelProfileSpec, ProfileSource
from kneescale.api.names import model_identity, profile_name
from kneescale.api.resource_slice import GpuDevice
from kneescale.api.surface import points_of, surface_of
from kneescale.api.vocabulary import SurfacePoint
from kneescale.core.backends import Backend, ModelFormat
from kneescale.core.surfaces.knee import find_knee
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import PERCENT, PERMILLE


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """What a profile is of: one model in one namespace, on one product.

    Namespaces do not share: who may write a profile decides how much of a GPU its models take.
    """

    namespace: str
    #: The digest, or the whole URI of a model that has none.
    identity: str
    format: ModelFormat
    product_name: str
    backend: Backend

    @property
    def profile_name(self) -> str:
        """Name of the ModelProfile that the operator makes for it."""
        return profile_name(self.identity, self.format, self.product_name)


@dataclass(frozen=True, slots=True)
class Profile:
    """A usable profile: its name, its surface and the knee of it (None where none was found)."""

    name: str
    surface: LatencySurface
    knee_percent: int | None
    #: How far nine in ten points of a prediction may be off; None where the points were measured.
    predicted_to_percent: int | None = None
    #: How many times as long as the surface says batches take of late.
    slowness: float = 1.0

    @property
    def surface_of_late(self) -> LatencySurface:
        """What plans go by; dispatchers get the surface as it is, and find its drift themselves."""
        return self.surface if self.slowness == 1 else self.surface.times(self.slowness)

    def points_of(self, lanes: Iterable[int], max_batch: int) -> tuple[SurfacePoint, ...]:
        """The surface as a schedule carries it, for a partition of these lanes."""
        return points_of(self.surface.restricted_to(lanes, max_batch))


def subject_of(model: InferenceModel, device: GpuDevice | GPUScheduleSpec) -> Subject:
    """What must be profiled to run `model` on devices of this kind; a schedule says that of its device."""
    source = model.spec.model
    identity = model_identity(source.uri)
    return Subject(model.metadata.namespace, identity, source.format, device.product_name, device.backend)


def subject_of_profile(profile: ModelProfile) -> Subject:
    """What a ModelProfile is of."""
    spec = profile.spec
    identity = model_identity(spec.model_uri)
    return Subject(profile.metadata.namespace, identity, spec.format, spec.product_name, spec.backend)


def choose_profiles(profiles: Iterable[ModelProfile]) -> Mapping[Subject, ModelProfile]:
    """The profile to use for each subject: rather no prediction, and one applied by hand before our own."""
    by_preference = sorted(
        (profile for profile in profiles if profile.spec.points),
        key=lambda profile: (
            profile.spec.source is not ProfileSource.PREDICTED,
            not profile.is_ours,
            profile.metadata.name,
        ),
    )
    return {subject_of_profile(profile): profile for profile in by_preference}


def read_profile(profile: ModelProfile) -> Profile:
    """What a ModelProfile with points says, and how much slower workers have been since."""
    status, made = profile.status, make_profile(profile.metadata.name, profile.spec)
    if status.observed_generation != profile.metadata.generation or status.latency_ratio_permille is None:
        return made
    return replace(made, slowness=status.latency_ratio_permille / PERMILLE)


def make_profile(name: str, spec: ModelProfileSpec) -> Profile:
    """The surface through a profile's points, of which there are some.

    A prediction is made slower by the error that it admits: models that serve on it keep their SLOs, and what
    workers measure takes back what was too careful.
    """
    surface = surface_of(spec.points)
    knee_percent = find_knee(surface)
    if spec.source is not ProfileSource.PREDICTED:
        return Profile(name, surface, knee_percent)
    error_percent = spec.expected_error_percent or 0
    return Profile(name, surface.times(1 + error_percent / PERCENT), knee_percent, error_percent)
