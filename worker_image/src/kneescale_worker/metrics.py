"""The worker's own metrics, in a registry of their own."""

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
_SECONDS_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60)


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


class Metrics:
    """Counts requests and batches."""

    def __init__(self, model_name: str, backend: str) -> None:
        self.registry = CollectorRegistry()
        info = Gauge("kneescale_worker_info", "Always 1.", ["model", "backend"], registry=self.registry)
        info.labels(model_name, backend).set(1)
        self._requests = Counter(
            "kneescale_worker_requests_total", "Requests by outcome.", ["outcome"], registry=self.registry
        )
        for outcome in Outcome:
            self._requests.labels(outcome)
        self._request_seconds = Histogram(
            "kneescale_worker_request_seconds",
            "From a request's arrival to its answer.",
            buckets=_SECONDS_BUCKETS,
            registry=self.registry,
        )
        self._batch_items = Histogram(
            "kneescale_worker_batch_items",
            "Items a batch held.",
            buckets=_BATCH_BUCKETS,
            registry=self.registry,
        )
        self._batch_seconds = Histogram(
            "kneescale_worker_batch_seconds",
            "Time a batch ran.",
            buckets=_SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.queued_items = Gauge("kneescale_worker_queued_items", "Items that wait.", registry=self.registry)
        self._lane_sms = Gauge(
            "kneescale_worker_lane_sms",
            "SMs of a lane, as the driver says.",
            ["gpu_percent"],
            registry=self.registry,
        )
        self.agent_connected = Gauge(
            "kneescale_worker_agent_connected",
            "1 when the agent grants batches, 0 when the worker paces itself.",
            registry=self.registry,
        )

    def request(self, outcome: Outcome, seconds: float) -> None:
        """Count a request and, when it was answered, the time it took."""
        self._requests.labels(outcome).inc()
        if outcome is Outcome.ANSWERED:
            self._request_seconds.observe(seconds)

    def batch(self, items: int, seconds: float) -> None:
        """Count a batch."""
        self._batch_items.observe(items)
        self._batch_seconds.observe(seconds)

    def lane_sms(self, gpu_percent: int, sms: int) -> None:
        """Show how many SMs a lane has."""
        self._lane_sms.labels(gpu_percent).set(sms)

    def render(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)
