"""What the plan for one model would be if something were different: the plan itself is asked."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from kneescale.api.inference_model import InferenceModel
from kneescale.api.resource_slice import one_of_each_kind
from kneescale.plan.inventory import take_inventory
from kneescale.plan.outlook import PLACED, find_all
from kneescale.plan.planner import outlooks_of
from kneescale.plan.state import Observed, Settings
from kneescale.plan.workloads import ModelKey

#: A GPU that is not there yet.
_NEW = "new"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a plan has for a model; `placed` is the condition's reason, with its message."""

    gpu_percent: int | None
    batch: int | None
    replicas: int
    placed: str
    message: str


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A change, in words, and the plan that would follow."""

    change: str
    outcome: Outcome


def outcome_now(observed: Observed, key: ModelKey, settings: Settings) -> Outcome:
    """What the plan has for the model as things are."""
    (outlook,) = (each for each in outlooks_of(observed, settings) if each.model.metadata.key == key)
    run = outlook.chosen.size.configuration if outlook.chosen else None
    placed = find_all(outlook)[PLACED]
    return Outcome(
        gpu_percent=run.gpu_percent if run else None,
        batch=run.batch if run else None,
        replicas=len(outlook.placing.targets),
        placed=placed.reason,
        message=placed.message,
    )


def what_if(observed: Observed, model: InferenceModel, settings: Settings) -> Iterator[WhatIf]:
    """The plan after each of the changes that an admin or its clients could make."""
    for change, changed in _changes(observed, model):
        yield WhatIf(change, outcome_now(changed, model.metadata.key, settings))


def _changes(observed: Observed, model: InferenceModel) -> Iterator[tuple[str, Observed]]:
    spec = model.spec
    scaling = model.status.scaling
    provided = float((scaling and scaling.provided_items_per_second) or 0)
    double = ceil(2 * max(provided, spec.expected_requests_per_second or 1))
    yield f"twice the traffic ({double} items/s)", _with(observed, model, expected_requests_per_second=double)
    slo_ms = spec.slo.latency_milliseconds
    for what, other_ms in (("half the SLO", max(1, slo_ms // 2)), ("twice the SLO", 2 * slo_ms)):
        slo = replace(spec.slo, latency_milliseconds=other_ms)
        yield f"{what} ({other_ms} ms)", _with(observed, model, slo=slo)
    most = spec.scaling.max_replicas
    more = replace(spec.scaling, max_replicas=most + 1)
    yield f"maxReplicas {most + 1}", _with(observed, model, scaling=more)
    for kind, device in one_of_each_kind(take_inventory(observed).open).items():
        another = replace(device, name=_NEW, uuid=_NEW)
        yield f"one more {kind}", replace(observed, devices=(*observed.devices, another))


def _with(observed: Observed, model: InferenceModel, **spec: Any) -> Observed:  # noqa: ANN401
    changed = replace(model, spec=replace(model.spec, **spec))
    models = (changed if each.metadata.key == model.metadata.key else each for each in observed.models)
    return replace(observed, models=tuple(models))
