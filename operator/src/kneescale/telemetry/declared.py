"""How a metric is declared: in one table per part, from which it is exported and documented.

Names follow Prometheus (https://prometheus.io/docs/practices/naming/): base units, `_total` on counters.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What Prometheus makes of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, by the name that queries use; `help` is one sentence without a full stop."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    #: Upper bounds of a histogram's buckets.
    buckets: tuple[float, ...] = ()


def counter(name: str, text: str, *labels: str) -> Metric:
    """A counter; its name ends in `_total`."""
    return Metric(name, Kind.COUNTER, text, labels)


def gauge(name: str, text: str, *labels: str) -> Metric:
    """A gauge."""
    return Metric(name, Kind.GAUGE, text, labels)


def histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> Metric:
    """A histogram; its name ends in its unit."""
    return Metric(name, Kind.HISTOGRAM, text, labels, buckets)


#: What each label tells, and what bounds the number of its values.
LABELS = {
    "backend": "what runs batches: `cuda-mps`, `cpu` or `emulated`, so that nothing emulated looks real",
    "condition": (
        "a condition of an InferenceModel: `Accepted`, `Profiled`, `Placed`, `Ready`, `SLOMet`, `Scaled`"
    ),
    "device": "a GPU of a node, by the name in the node's ResourceSlice: `gpu0`; the node is the target's",
    "gpu_percent": "a lane, by the GPU% that it has: at most one for each lane of the worker",
    "kind": "a kind of object that the operator writes",
    "model": "an InferenceModel, by name",
    "namespace": "the InferenceModel's namespace",
    "outcome": "how a request ended: `answered`, `invalid`, `refused`, `failed`, `abandoned`",
    "partition": "a partition of a GPU, by the name of its pod: those of now, gone with the partition",
    "reason": "why, one word of a short list",
    "result": "what came of it, one word of a short list",
    "state": "the state of a worker in its model's status: `Starting`, `Serving`, `Draining`, `Failed`",
    "type": "`Normal` or `Warning`",
    "verb": "what is done to an object: `apply`, `apply status`, `delete`",
}
