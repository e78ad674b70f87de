"""What Prometheus reads of the operator: its work, and what it decided for each model."""

from collections.abc import Iterable
from enum import StrEnum

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from kneescale.api.codec import decode
from kneescale.api.conditions import ConditionStatus
from kneescale.api.inference_model import KIND, InferenceModel, InferenceModelStatus, PlacementState
from kneescale.core.units import MS_PER_S, PERCENT
from kneescale.plan.state import Desired, EventNote, Observed
from kneescale.telemetry import declared
from kneescale.telemetry.declared import counter, gauge, histogram
from kneescale.telemetry.families import Families

PORT = 9401

_MODEL = ("namespace", "model")

INFO = gauge("kneescale_model_info", "Always 1, for each InferenceModel that is planned", *_MODEL, "backend")
DESIRED = gauge("kneescale_model_desired_replicas", "Workers that the plan wants", *_MODEL)
REPLICAS = gauge("kneescale_model_replicas", "Workers that are placed, by their state", *_MODEL, "state")
LEAST = gauge("kneescale_model_min_replicas", "The fewest workers that the spec allows", *_MODEL)
MOST = gauge("kneescale_model_max_replicas", "The most workers that the spec allows", *_MODEL)
PROVIDED = gauge(
    "kneescale_model_provided_items_per_second",
    "Rate that the autoscaler provides for; not there before anything arrived",
    *_MODEL,
)
CONDITION = gauge(
    "kneescale_model_condition", "1 where the condition is True, 0 where it is not", *_MODEL, "condition"
)
SLO_SECONDS = gauge("kneescale_model_slo_seconds", "The latency SLO", *_MODEL)
SLO_TARGET = gauge(
    "kneescale_model_slo_target_ratio", "The part of all requests that must meet the SLO", *_MODEL
)
PLANNED_GPU = gauge("kneescale_model_planned_gpu_ratio", "Part of a GPU that a batch is planned for", *_MODEL)
PLANNED_BATCH = gauge("kneescale_model_planned_batch_items", "Items that a batch is planned for", *_MODEL)
PLANNED_SECONDS = gauge(
    "kneescale_model_planned_batch_seconds", "Time that the planned batch is predicted to take", *_MODEL
)
PLAN_SECONDS = histogram(
    "kneescale_plan_seconds",
    "Time to make one plan of the whole cluster",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
RECONCILES = counter(
    "kneescale_reconciles_total",
    "Reconcile cycles: `unchanged`, `applied` what differed, `failed` to write some of it, or `broken` off "
    "by an error in the operator itself",
    "result",
)
WRITES = counter(
    "kneescale_writes_total", "Writes to the API server: `done` or `failed`", "verb", "kind", "result"
)
EVENTS = counter("kneescale_events_total", "Decisions told in Events", "type", "reason")

_OF_MODELS = (
    *(INFO, DESIRED, REPLICAS, LEAST, MOST, PROVIDED, CONDITION, SLO_SECONDS, SLO_TARGET),
    *(PLANNED_GPU, PLANNED_BATCH, PLANNED_SECONDS),
)
METRICS = (*_OF_MODELS, PLAN_SECONDS, RECONCILES, WRITES, EVENTS)


class Result(StrEnum):
    """What came of a cycle."""

    UNCHANGED = "unchanged"
    APPLIED = "applied"
    FAILED = "failed"
    BROKEN = "broken"


class Metrics:
    """Counts what the loop does, and keeps its last plan to tell of the models when asked."""

    def __init__(self) -> None:
        # Without a `_created` beside every counter and histogram, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._models = _Models()
        self.registry.register(self._models)
        self._plan_seconds = Histogram(
            PLAN_SECONDS.name, PLAN_SECONDS.help, registry=self.registry, buckets=PLAN_SECONDS.buckets
        )
        self._reconciles = self._counter(RECONCILES)
        for result in Result:
            self._reconciles.labels(result)
        self._writes = self._counter(WRITES)
        self._events = self._counter(EVENTS)

    def planned(self, observed: Observed, desired: Desired, took_s: float) -> None:
        """A plan was made, in so many seconds."""
        self._plan_seconds.observe(took_s)
        self._models.plan = observed, desired

    def reconciled(self, result: Result) -> None:
        """A cycle is over."""
        self._reconciles.labels(result).inc()

    def wrote(self, verb: str, kind: str, *, done: bool) -> None:
        """A write was tried."""
        self._writes.labels(verb, kind, "done" if done else "failed").inc()

    def announced(self, note: EventNote) -> None:
        """A decision was told."""
        self._events.labels(note.type, note.reason).inc()

    def _counter(self, metric: declared.Metric) -> Counter:
        return Counter(metric.name, metric.help, metric.labels, registry=self.registry)


def serve(metrics: Metrics, port: int = PORT) -> int:
    """Serve /metrics from a thread of its own while the process lives; return the port, for 0 a free one.

    Raises OSError when the port is taken.
    """
    server, _ = start_http_server(port, registry=metrics.registry)
    return int(server.server_address[1])


class _Models(Collector):
    """The models of the last plan."""

    def __init__(self) -> None:
        self.plan: tuple[Observed, Desired] | None = None

    def collect(self) -> Iterable[Metric]:
        """All of them as the last plan has them."""
        page = Families(_OF_MODELS)
        if self.plan is not None:
            _add_models(page, *self.plan)
        return page.all()


def _add_models(page: Families, observed: Observed, desired: Desired) -> None:
    models = {model.metadata.key: model for model in observed.models}
    for manifest in desired.status:
        key = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        if manifest["kind"] == KIND and key in models:
            _add_spec(page, models[key])
            _add_status(page, decode(InferenceModelStatus, manifest["status"], "status"), *key)


def _add_spec(page: Families, model: InferenceModel) -> None:
    key, spec = model.metadata.key, model.spec
    page.add(LEAST, spec.scaling.min_replicas, *key)
    page.add(MOST, spec.scaling.max_replicas, *key)
    page.add(SLO_SECONDS, spec.slo.latency_milliseconds / MS_PER_S, *key)
    page.add(SLO_TARGET, spec.slo.percentile / PERCENT, *key)


def _add_status(page: Families, status: InferenceModelStatus, *key: str) -> None:
    """What the plan decided, from the status that tells it."""
    page.add(INFO, 1, *key, status.backend or "")
    page.add(DESIRED, status.replicas or 0, *key)
    states = [placement.state for placement in status.placements]
    for state in PlacementState:
        page.add(REPLICAS, states.count(state), *key, state)
    if status.scaling and status.scaling.provided_items_per_second is not None:
        page.add(PROVIDED, float(status.scaling.provided_items_per_second), *key)
    for condition in status.conditions:
        page.add(CONDITION, condition.status is ConditionStatus.TRUE, *key, condition.type)
    if status.gpu_percent and status.batch and status.predicted_latency_milliseconds is not None:
        page.add(PLANNED_GPU, status.gpu_percent / PERCENT, *key)
        page.add(PLANNED_BATCH, status.batch, *key)
        page.add(PLANNED_SECONDS, status.predicted_latency_milliseconds / MS_PER_S, *key)
