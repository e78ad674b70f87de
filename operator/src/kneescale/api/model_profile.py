"""ModelProfile: the latency surface f(GPU%, batch) of one model on one GPU product."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from kneescale.api.codec import Items, JsonName, Text, decode, encode
from kneescale.api.conditions import Conditions
from kneescale.api.meta import Metadata, parse_metadata
from kneescale.api.names import API_VERSION, FIELD_MANAGER, MANAGED_BY, MANAGED_BY_LABEL
from kneescale.api.vocabulary import (
    ErrorPercent,
    Generation,
    GpuPercent,
    ModelUri,
    Permille,
    ProductName,
    SurfacePoint,
)
from kneescale.core.backends import Backend, ModelFormat
from kneescale.core.errors import InvalidInputError

KIND = "ModelProfile"


class ProfileSource(StrEnum):
    """Where the points come from: nowhere yet, a prediction, a Job of some cluster, or somebody's file."""

    PENDING = "Pending"
    PREDICTED = "Predicted"
    MEASURED = "Measured"
    IMPORTED = "Imported"


@dataclass(frozen=True, slots=True)
class ProfilePoint(SurfacePoint):
    """One point, measured unless it is `fitted`: what the measured ones say of it."""

    fitted: bool = False


@dataclass(frozen=True, slots=True)
class Stack:
    """The software below the measured batches; what nobody knows is None."""

    #: Of the GPU, as the device published it.
    driver_version: Annotated[str | None, Text(max_length=64, min_length=1)] = None
    #: It stands for the framework that it holds.
    worker_image: Annotated[str | None, Text(max_length=512, min_length=1)] = None


@dataclass(frozen=True, slots=True)
class ModelProfileSpec:
    """The points, what they were measured on, and how far they may be off."""

    model_uri: Annotated[ModelUri, JsonName("modelURI")]
    format: ModelFormat
    product_name: ProductName
    backend: Backend
    #: None while it is Pending.
    points: Annotated[tuple[ProfilePoint, ...], Items(max_items=1000, map_keys=("gpuPercent", "batch"))] = ()
    source: ProfileSource = ProfileSource.IMPORTED
    #: Nine in ten points are known to this standard deviation; of a prediction, nine in ten are off by less.
    expected_error_percent: ErrorPercent | None = None
    #: How far the prediction from the model's layers alone was off at the measured points, at the median.
    prediction_error_percent: ErrorPercent | None = None
    stack: Stack | None = None


@dataclass(frozen=True, slots=True)
class ModelProfileStatus:
    """What the operator found in the points, and how far it is with them."""

    observed_generation: Generation | None = None
    conditions: Conditions = ()
    #: The GPU% past which latency hardly falls.
    knee_percent: GpuPercent | None = None
    #: How far measuring is, while it goes on: "5 of at most 40 points, known to 12 %".
    progress: Annotated[str | None, Text(max_length=128)] = None
    #: How long batches take of late beside what the points say, as workers measure; None where that is alike.
    latency_ratio_permille: Permille | None = None


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """The resource."""

    metadata: Metadata
    spec: ModelProfileSpec
    status: ModelProfileStatus = ModelProfileStatus()

    @property
    def is_ours(self) -> bool:
        """Whether the operator wrote it, and nobody else its points; what was applied by hand is left alone.

        Who wrote what is not in the YAML that `kubectl get` shows, so what is exported is nobody's yet.
        """
        by_field = self.metadata.spec_writers
        writers = by_field.get("points", frozenset()) | by_field.get("source", frozenset())
        return FIELD_MANAGER in self.metadata.writers and writers <= {FIELD_MANAGER}


def parse_model_profile(obj: Mapping[str, Any]) -> ModelProfile:
    """A ModelProfile as the API server or a file gives it.

    Raises InvalidInputError naming the field that is wrong.
    """
    spec = decode(ModelProfileSpec, obj.get("spec"), "spec")
    _check_points(spec)
    return ModelProfile(
        parse_metadata(obj), spec, decode(ModelProfileStatus, obj.get("status") or {}, "status")
    )


def render_model_profile(namespace: str, name: str, spec: ModelProfileSpec) -> dict[str, Any]:
    """The manifest that the operator applies.

    Without owner references: they name objects of this cluster, and in another one, where the profile may be
    applied as it is exported, the garbage collector would delete it for want of them.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {MANAGED_BY_LABEL: MANAGED_BY},
        },
        "spec": encode(spec),
    }


def _check_points(spec: ModelProfileSpec) -> None:
    """The cross-field rules of the CRD."""
    if (spec.source is ProfileSource.PENDING) == bool(spec.points):
        raise InvalidInputError(
            "spec.points must be there, unless spec.source is Pending; then there are none"
        )
    if spec.source is ProfileSource.PREDICTED and spec.expected_error_percent is None:
        raise InvalidInputError("spec.expectedErrorPercent must be there if spec.source is Predicted")
