"""The worker's own metrics, in a registry of their own."""

from collections import deque
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from kneescale.core.units import NS_PER_S
from kneescale.telemetry import declared
from kneescale.telemetry.declared import counter, gauge, histogram

_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
#: From a batch on a fast GPU to the longest SLO, a minute; at most half as much again from one to the next
#: where most SLOs are.
_SECONDS_BUCKETS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2),
    *(0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60),
)
#: Parts of what was promised: exact at 1, whatever the SLO or the batch.
_RATIO_BUCKETS = (0.1, 0.25, 0.5, 0.75, 0.9, 1, 1.1, 1.25, 1.5, 2, 4, 10)
#: What is the same in all of a worker's samples.
_WORKER = ("backend", "device", "model")

INFO = gauge("kneescale_worker_info", "Always 1", *_WORKER)
REQUESTS = counter("kneescale_worker_requests_total", "Requests by outcome", *_WORKER, "outcome")
DROPPED = counter(
    "kneescale_worker_dropped_requests_total",
    "Requests that were refused, failed or abandoned, by reason: `queue_full`, `too_late`, `unavailable` "
    "(the worker loads its model, or exits), `batch_failed`, `error` or `abandoned`",
    *_WORKER,
    "reason",
)
SLO_REQUESTS = counter(
    "kneescale_worker_slo_requests_total",
    "Requests that the SLO counts, all but invalid ones: `met` by an answer in time, else `missed`",
    *_WORKER,
    "result",
)
SLO_SECONDS = gauge(
    "kneescale_worker_slo_seconds", "The latency SLO, as the agent told it; 0 until then", *_WORKER
)
REQUEST_SECONDS = histogram(
    "kneescale_worker_request_seconds",
    "From a request's arrival to its answer",
    *_WORKER,
    buckets=_SECONDS_BUCKETS,
)
REQUEST_SLO_RATIO = histogram(
    "kneescale_worker_request_slo_ratio",
    "From a request's arrival to its answer, as part of the SLO",
    *_WORKER,
    buckets=_RATIO_BUCKETS,
)
GRANT_WAIT = histogram(
    "kneescale_worker_grant_wait_seconds",
    "Grant latency: from the arrival of a batch's oldest item to the grant to run it",
    *_WORKER,
    buckets=_SECONDS_BUCKETS,
)
BATCH_ITEMS = histogram(
    "kneescale_worker_batch_items", "Items a batch held", *_WORKER, buckets=_BATCH_BUCKETS
)
BATCH_SECONDS = histogram(
    "kneescale_worker_batch_seconds", "Time a batch ran", *_WORKER, buckets=_SECONDS_BUCKETS
)
BATCH_PLAN_RATIO = histogram(
    "kneescale_worker_batch_plan_ratio",
    "Time a batch ran, over the time that its grant predicted",
    *_WORKER,
    buckets=_RATIO_BUCKETS,
)
QUEUED = gauge("kneescale_worker_queued_items", "Items that wait", *_WORKER)
LANE_SMS = gauge("kneescale_worker_lane_sms", "SMs of a lane, as the driver says", *_WORKER, "gpu_percent")
AGENT_CONNECTED = gauge(
    "kneescale_worker_agent_connected",
    "1 when the agent grants batches, 0 when the worker paces itself",
    *_WORKER,
)

METRICS = (
    *(INFO, REQUESTS, DROPPED, SLO_REQUESTS, SLO_SECONDS, REQUEST_SECONDS, REQUEST_SLO_RATIO),
    *(GRANT_WAIT, BATCH_ITEMS, BATCH_SECONDS, BATCH_PLAN_RATIO, QUEUED, LANE_SMS, AGENT_CONNECTED),
)


class Outcome(StrEnum):
    """How a request ended."""

    ANSWERED = "answered"
    #: The client's fault; says nothing about this worker.
    INVALID = "invalid"
    #: The queue is full, the SLO cannot be kept any more, or the model is not there.
    REFUSED = "refused"
    FAILED = "failed"
    #: The client went away before its answer came.
    ABANDONED = "abandoned"


class Drop(StrEnum):
    """Why a request got no answer."""

    QUEUE_FULL = "queue_full"
    #: It could not be answered within the SLO any more.
    TOO_LATE = "too_late"
    #: The worker is loading its model, or exits.
    UNAVAILABLE = "unavailable"
    BATCH_FAILED = "batch_failed"
    ERROR = "error"
    ABANDONED = "abandoned"


class BatchFigures(NamedTuple):
    """What is counted of a batch.

    `planned_ns` is what its grant predicted, `waited_ns` how long its oldest item waited for that; None where
    there was none.
    """

    items: int
    took_ns: int
    planned_ns: int | None
    waited_ns: int | None


class Metrics:
    """Counts requests and batches."""

    def __init__(self, model_name: str, backend: str, device: str) -> None:
        # Without a `_created` beside every counter and histogram, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._own = CollectorRegistry()
        self._page = CollectorRegistry()
        self._page.register(_Labelled(self._own, {"backend": backend, "device": device, "model": model_name}))
        self._gauge(INFO).set(1)
        self._requests = self._counter(REQUESTS)
        self._dropped = self._counter(DROPPED)
        slo_requests = self._counter(SLO_REQUESTS)
        self._met, self._missed = slo_requests.labels("met"), slo_requests.labels("missed")
        for outcome in Outcome:
            self._requests.labels(outcome)
        for reason in Drop:
            self._dropped.labels(reason)
        self._slo_seconds = self._gauge(SLO_SECONDS)
        self._slo_ns: int | None = None
        self._request_seconds = self._histogram(REQUEST_SECONDS)
        self._request_slo_ratio = self._histogram(REQUEST_SLO_RATIO)
        self._grant_wait = self._histogram(GRANT_WAIT)
        self._batch_items = self._histogram(BATCH_ITEMS)
        self._batch_seconds = self._histogram(BATCH_SECONDS)
        self._batch_plan_ratio = self._histogram(BATCH_PLAN_RATIO)
        self.queued_items = self._gauge(QUEUED)
        self._lane_sms = self._gauge(LANE_SMS)
        self.agent_connected = self._gauge(AGENT_CONNECTED)
        self._uncounted: deque[BatchFigures] = deque()

    def set_slo(self, slo_ns: int) -> None:
        """Judge requests by this from now on; until it is known, none is."""
        self._slo_ns = slo_ns
        self._slo_seconds.set(slo_ns / NS_PER_S)

    def answered(self, latency_ns: int) -> None:
        """Count a request that was answered."""
        self._requests.labels(Outcome.ANSWERED).inc()
        self._request_seconds.observe(latency_ns / NS_PER_S)
        if self._slo_ns is not None:
            self._request_slo_ratio.observe(latency_ns / self._slo_ns)
            (self._met if latency_ns <= self._slo_ns else self._missed).inc()

    def dropped(self, outcome: Outcome, reason: Drop) -> None:
        """Count a request that a better worker would have answered."""
        self._requests.labels(outcome).inc()
        self._dropped.labels(reason).inc()
        if self._slo_ns is not None:
            self._missed.inc()

    def invalid(self) -> None:
        """Count a request that no worker would have answered."""
        self._requests.labels(Outcome.INVALID).inc()

    def batch(self, figures: BatchFigures) -> None:
        """Note a batch, on any thread, for `count_batches`: the next one waits for who counts it."""
        self._uncounted.append(figures)

    def count_batches(self) -> None:
        """Count the batches that were noted; to be called now and then."""
        while self._uncounted:
            items, took_ns, planned_ns, waited_ns = self._uncounted.popleft()
            self._batch_items.observe(items)
            self._batch_seconds.observe(took_ns / NS_PER_S)
            if planned_ns:
                self._batch_plan_ratio.observe(took_ns / planned_ns)
            if waited_ns is not None:
                self._grant_wait.observe(waited_ns / NS_PER_S)

    def lane_sms(self, gpu_percent: int, sms: int) -> None:
        """Show how many SMs a lane has."""
        self._lane_sms.labels(gpu_percent).set(sms)

    def render(self) -> bytes:
        """Everything, in Prometheus' text format."""
        self.count_batches()
        return generate_latest(self._page)

    def _counter(self, metric: declared.Metric) -> Counter:
        return Counter(metric.name, metric.help, _own_labels(metric), registry=self._own)

    def _gauge(self, metric: declared.Metric) -> Gauge:
        return Gauge(metric.name, metric.help, _own_labels(metric), registry=self._own)

    def _histogram(self, metric: declared.Metric) -> Histogram:
        return Histogram(metric.name, metric.help, registry=self._own, buckets=metric.buckets)


class _Labelled(Collector):
    """A registry's metrics with the same labels on every sample, set when asked: counting pays nothing."""

    def __init__(self, registry: CollectorRegistry, labels: Mapping[str, str]) -> None:
        self._registry = registry
        self._labels = labels

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now."""
        for family in self._registry.collect():
            family.samples = [
                sample._replace(labels={**self._labels, **sample.labels}) for sample in family.samples
            ]
            yield family


def _own_labels(metric: declared.Metric) -> list[str]:
    return [label for label in metric.labels if label not in _WORKER]
