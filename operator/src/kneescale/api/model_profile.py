"""ModelProfile: the latency surface f(GPU%, batch) of one model on one GPU product."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from kneescale.api.codec import Items, JsonName, decode, encode
from kneescale.api.conditions import Condition
from kneescale.api.meta import Metadata, Owner, parse_metadata
from kneescale.api.names import API_VERSION, MANAGED_BY, MANAGED_BY_LABEL
from kneescale.api.vocabulary import (
    Backend,
    ErrorPercent,
    Generation,
    GpuPercent,
    ModelFormat,
    ModelUri,
    ProductName,
    SurfacePoint,
)

KIND = "ModelProfile"


class ProfileSource(StrEnum):
    """Where the points come from."""

    MEASURED = "Measured"
    IMPORTED = "Imported"


@dataclass(frozen=True, slots=True)
class ProfilePoint(SurfacePoint):
    """One point, measured unless it is `fitted`: what the measured ones say of it."""

    fitted: bool = False


@dataclass(frozen=True, slots=True)
class ModelProfileSpec:
    """The points, what they were measured on, and how far they may be off."""

    model_uri: Annotated[ModelUri, JsonName("modelURI")]
    format: ModelFormat
    product_name: ProductName
    backend: Backend
    points: Annotated[
        tuple[ProfilePoint, ...], Items(max_items=1000, min_items=1, map_keys=("gpuPercent", "batch"))
    ]
    source: ProfileSource = ProfileSource.IMPORTED
    #: Nine in ten points are known to this standard deviation.
    expected_error_percent: ErrorPercent | None = None
    #: How far the prediction from the model's layers alone was off at the measured points, at the median.
    prediction_error_percent: ErrorPercent | None = None


@dataclass(frozen=True, slots=True)
class ModelProfileStatus:
    """What the operator found in the points."""

    observed_generation: Generation | None = None
    conditions: Annotated[tuple[Condition, ...], Items(max_items=8, map_keys=("type",))] = ()
    #: The GPU% past which latency hardly falls.
    knee_percent: GpuPercent | None = None


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """The resource."""

    metadata: Metadata
    spec: ModelProfileSpec
    status: ModelProfileStatus = ModelProfileStatus()


def parse_model_profile(obj: Mapping[str, Any]) -> ModelProfile:
    """A ModelProfile as the API server or a file gives it.

    Raises InvalidInputError naming the field that is wrong.
    """
    return ModelProfile(
        parse_metadata(obj),
        decode(ModelProfileSpec, obj.get("spec"), "spec"),
        decode(ModelProfileStatus, obj.get("status") or {}, "status"),
    )


def render_model_profile(
    namespace: str, name: str, spec: ModelProfileSpec, owners: Sequence[Owner]
) -> dict[str, Any]:
    """The manifest that the operator applies."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {MANAGED_BY_LABEL: MANAGED_BY},
            "ownerReferences": [owner.render() for owner in owners],
        },
        "spec": encode(spec),
    }


def render_model_profile_status(status: ModelProfileStatus) -> dict[str, Any]:
    """The JSON below `.status`."""
    rendered: dict[str, Any] = encode(status)
    return rendered
