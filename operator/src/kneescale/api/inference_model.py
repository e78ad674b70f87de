"""InferenceModel: the resource that users write, a model and the latency it must keep."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from kneescale.api.codec import Items, Range, Text, decode
from kneescale.api.conditions import Conditions
from kneescale.api.meta import Metadata, Owner, parse_metadata
from kneescale.api.names import API_VERSION, MAX_MODEL_NAME
from kneescale.api.quantity import parse_quantity
from kneescale.api.vocabulary import (
    Batch,
    Count,
    Decimal1,
    Generation,
    GpuPercent,
    Label,
    LateRequests,
    Milliseconds,
    ModelUri,
    Number,
    ObjectName,
    Permille,
    ProductName,
    SloMilliseconds,
    Time,
    Weight,
)
from kneescale.core.backends import Backend, ModelFormat
from kneescale.core.errors import InvalidInputError

KIND = "InferenceModel"


class PlacementState(StrEnum):
    """A partition as its model's owner sees it."""

    STARTING = "Starting"
    SERVING = "Serving"
    DRAINING = "Draining"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where the model is and how it is stored."""

    uri: ModelUri
    format: ModelFormat


@dataclass(frozen=True, slots=True)
class Slo:
    """The latency that `percentile` % of all requests must keep."""

    latency_milliseconds: SloMilliseconds
    percentile: Annotated[int, Range(50, 99)] = 99
    late_requests: LateRequests = LateRequests.REFUSE


@dataclass(frozen=True, slots=True)
class Scaling:
    """Bounds on the number of workers; `replicas` is what kubectl scale or an autoscaler writes.

    With a `min_replicas` of 0 the model sleeps when nothing came for `idle_seconds`.
    """

    min_replicas: Annotated[int, Range(0, 1000)] = 1
    max_replicas: Annotated[int, Range(1, 1000)] = 1
    replicas: Annotated[int | None, Range(0, 1000)] = None
    idle_seconds: Annotated[int, Range(10, 86_400)] = 300

    @property
    def bounds(self) -> tuple[int, int]:
        """(fewest, most) workers while it is awake; the same number twice where `replicas` asks for one."""
        fewest = max(self.min_replicas, 1)
        if self.replicas is None:
            return fewest, self.max_replicas
        wanted = min(max(self.replicas, fewest), self.max_replicas)
        return wanted, wanted

    @property
    def may_sleep(self) -> bool:
        """Whether it may be without a worker, which the next request then brings up."""
        return self.min_replicas == 0

    @property
    def is_off(self) -> bool:
        """Whether it is to have no worker, whatever comes."""
        return self.may_sleep and self.replicas == 0


@dataclass(frozen=True, slots=True)
class GpuRequirements:
    """What a GPU must be and have for this model; no products means any."""

    products: Annotated[tuple[ProductName, ...], Items(max_items=16, unique=True)] = ()
    memory: Annotated[str, Text(max_length=32, min_length=1)] = "1Gi"

    @property
    def memory_bytes(self) -> int:
        """GPU memory of one copy of the model."""
        return parse_quantity(self.memory)


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the planner must not choose by itself."""

    gpu_percent: GpuPercent | None = None
    batch: Batch | None = None


@dataclass(frozen=True, slots=True)
class InferenceModelSpec:
    """What the user asks for."""

    model: ModelSource
    slo: Slo
    expected_requests_per_second: Annotated[int | None, Range(1, 100_000)] = None
    scaling: Scaling = Scaling()
    gpu: GpuRequirements = GpuRequirements()
    weight: Weight = 1
    max_batch: Batch = 16
    overrides: Overrides | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """One worker and the device that it runs on."""

    partition: Label
    node: ObjectName
    device: Label
    state: PlacementState


@dataclass(frozen=True, slots=True)
class Measured:
    """What the workers saw over the last `window_seconds`, all together."""

    requests_per_second: Decimal1
    window_seconds: Count
    p50_milliseconds: Milliseconds | None = None
    p99_milliseconds: Milliseconds | None = None
    attainment_percent: Decimal1 | None = None


@dataclass(frozen=True, slots=True)
class ScalingPeak:
    """The most that traffic needed in the ten seconds from `since` on."""

    since: Time
    items_per_second: Number


@dataclass(frozen=True, slots=True)
class ScalingDecision:
    """One change of what is provided for."""

    at: Time
    reason: Annotated[str, Text(max_length=64, min_length=1)]
    message: Annotated[str, Text(max_length=1024)]


@dataclass(frozen=True, slots=True)
class ScalingStatus:
    """What the autoscaler provides for, and what it must remember for its next decision."""

    #: Absent before anything arrived.
    provided_items_per_second: Number | None = None
    #: By how much late requests on a busy GPU have raised it.
    boost_permille: Permille = 1000
    changed_at: Time | None = None
    #: When it first rose after it last fell.
    rose_at: Time | None = None
    #: Since when nothing came; only of a model that may sleep.
    idle_since: Time | None = None
    peaks: Annotated[tuple[ScalingPeak, ...], Items(max_items=16)] = ()
    #: The last decisions, the latest first.
    decisions: Annotated[tuple[ScalingDecision, ...], Items(max_items=5)] = ()


@dataclass(frozen=True, slots=True)
class InferenceModelStatus:
    """What the operator decided and what came of it."""

    observed_generation: Generation | None = None
    conditions: Conditions = ()
    backend: Backend | None = None
    profile: ObjectName | None = None
    knee_percent: GpuPercent | None = None
    gpu_percent: GpuPercent | None = None
    batch: Batch | None = None
    predicted_latency_milliseconds: Milliseconds | None = None
    placements: Annotated[tuple[Placement, ...], Items(max_items=1000, map_keys=("partition",))] = ()
    #: The placements as one line: "node1/gpu0, node2/gpu1".
    placed_on: Annotated[str | None, Text(max_length=1024)] = None
    replicas: Count | None = None
    selector: Annotated[str | None, Text(max_length=512)] = None
    url: Annotated[str | None, Text(max_length=512)] = None
    measured: Measured | None = None
    scaling: ScalingStatus | None = None
    #: Why the model is in the state it is in, in one short line.
    reason: Annotated[str | None, Text(max_length=1024)] = None


@dataclass(frozen=True, slots=True)
class InferenceModel:
    """The resource."""

    metadata: Metadata
    spec: InferenceModelSpec
    status: InferenceModelStatus = InferenceModelStatus()

    @property
    def owner(self) -> Owner:
        """The owner reference of what is made for this model."""
        return Owner(API_VERSION, KIND, self.metadata.name, self.metadata.uid)


def parse_inference_model(obj: Mapping[str, Any]) -> InferenceModel:
    """An InferenceModel as the API server or a file gives it.

    Raises InvalidInputError with the sentence that the API server would refuse it with.
    """
    metadata = parse_metadata(obj)
    spec = decode(InferenceModelSpec, obj.get("spec"), "spec")
    _check_name(metadata.name)
    _check_source(spec.model)
    _check_bounds(spec)
    return InferenceModel(metadata, spec, decode(InferenceModelStatus, obj.get("status") or {}, "status"))


@dataclass(frozen=True, slots=True)
class _ScalingAlone:
    scaling: Scaling = Scaling()


def may_sleep(obj: Mapping[str, Any]) -> bool:
    """Whether an InferenceModel may be without a worker; one that cannot be read may not."""
    try:
        return decode(_ScalingAlone, obj.get("spec"), "spec").scaling.may_sleep
    except InvalidInputError:
        return False


def _check_name(name: str) -> None:
    if len(name) > MAX_MODEL_NAME:
        raise InvalidInputError(
            f"metadata.name is too long; shorten it to {MAX_MODEL_NAME} characters, "
            "for names of pods and claims are made from it"
        )
    if re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", name) is None:
        raise InvalidInputError(
            "metadata.name must be lower-case letters, digits and '-', starting with a letter: "
            "a Service gets the same name"
        )


def _check_source(source: ModelSource) -> None:
    if re.fullmatch("oci://.+|pvc://[^/]+/.+|catalog://[^/]+", source.uri) is None:
        raise InvalidInputError(
            "spec.model.uri must be oci://<image>, pvc://<claim>/<path> or catalog://<name>"
        )
    if (source.format is ModelFormat.EMULATED) != source.uri.startswith("catalog://"):
        raise InvalidInputError(
            "spec.model: format Emulated goes with a catalog:// URI and with no other; "
            "change spec.model.format or spec.model.uri"
        )


def _check_bounds(spec: InferenceModelSpec) -> None:
    if spec.scaling.min_replicas > spec.scaling.max_replicas:
        raise InvalidInputError(
            "spec.scaling.minReplicas is more than maxReplicas; lower the one or raise the other"
        )
    if spec.gpu.memory_bytes <= 0:
        raise InvalidInputError("spec.gpu.memory must be a positive quantity like 512Mi or 2Gi")
    batch = spec.overrides.batch if spec.overrides else None
    if batch is not None and batch > spec.max_batch:
        raise InvalidInputError(
            "spec.overrides.batch is more than spec.maxBatch; lower the one or raise the other"
        )
