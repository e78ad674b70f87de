"""What a profiling Job leaves behind: the points in the termination message of its pod, as a ModelProfile."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from kneescale.api.codec import decode, encode
from kneescale.api.model_profile import ModelProfileSpec, ProfileSource, Stack
from kneescale.core.errors import InvalidInputError
from kneescale.core.worker_message import EXPECTED_ERROR_PERCENT, FITTED, POINTS, PREDICTION_ERROR_PERCENT
from kneescale.plan.needs import Need
from kneescale.plan.workloads import worker_error

_POINT_KEYS = ("gpuPercent", "batch", "latencyMicroseconds")
_ERRORS = (EXPECTED_ERROR_PERCENT, PREDICTION_ERROR_PERCENT)


def parse_result(need: Need, stack: Stack | None, message: str) -> ModelProfileSpec:
    """The profile in the termination message of a worker that measured on `stack`, or predicted without one.

    Raises InvalidInputError when it holds none.
    """
    try:
        result = json.loads(message)
        points = _points(result[POINTS], fitted=False) + _points(result.get(FITTED, ()), fitted=True)
        errors = {name: result[name] for name in _ERRORS if name in result}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        points, errors = [], {}
    if not points:
        said = worker_error(message) or f"the profiling worker ended with {message[:80]!r}, not with points"
        raise InvalidInputError(said)
    spec = {
        "modelURI": need.model.spec.model.uri,
        "format": need.subject.format,
        "productName": need.subject.product_name,
        "backend": need.subject.backend,
        "points": points,
        "source": ProfileSource.MEASURED if stack else ProfileSource.PREDICTED,
        "stack": encode(stack) if stack else None,
        **errors,
    }
    return decode(ModelProfileSpec, spec, "profile")


def _points(triples: Iterable[Sequence[int]], *, fitted: bool) -> list[dict[str, Any]]:
    return [{**dict(zip(_POINT_KEYS, triple, strict=True)), "fitted": fitted} for triple in triples]
