"""Events: one for each decision, told from what the observed status has not said yet."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain

from kneescale.api.conditions import find_condition
from kneescale.api.inference_model import KIND, InferenceModel, InferenceModelStatus
from kneescale.api.names import API_VERSION
from kneescale.plan.finding import EventType, Finding
from kneescale.plan.inventory import Standing
from kneescale.plan.outlook import Outlook
from kneescale.plan.scaling_words import decided
from kneescale.plan.state import EventNote, ObjectRef


def notes_of(
    outlook: Outlook, findings: Mapping[str, Finding], status: InferenceModelStatus
) -> Iterator[EventNote]:
    """The decisions that `status` will show and the model's observed status does not."""
    model = outlook.model
    device = ", ".join(target.place for target in outlook.placing.targets)
    told = chain(
        _transitions(model, findings), _scaled(outlook), _replanned(model, status), _starting(outlook)
    )
    return (replace(note, device=device) for note in told)


def ref_of(model: InferenceModel) -> ObjectRef:
    """The model, for an Event to be about."""
    meta = model.metadata
    return ObjectRef(API_VERSION, KIND, meta.namespace, meta.name, meta.uid)


def _transitions(model: InferenceModel, findings: Mapping[str, Finding]) -> Iterator[EventNote]:
    for kind, finding in findings.items():
        before = find_condition(model.status.conditions, kind)
        said = before is not None and (before.status, before.reason) == (finding.status, finding.reason)
        if not said and finding.event is not None:
            yield EventNote(ref_of(model), finding.event, finding.reason, kind, finding.message)


def _scaled(outlook: Outlook) -> Iterator[EventNote]:
    if outlook.scaling.is_change:
        reason = outlook.scaling.decision.reason
        yield EventNote(ref_of(outlook.model), EventType.NORMAL, reason, "Scale", decided(outlook.scaling))


def _replanned(model: InferenceModel, status: InferenceModelStatus) -> Iterator[EventNote]:
    before = model.status
    if before.gpu_percent is None or status.gpu_percent is None:
        return
    if (before.gpu_percent, before.batch) != (status.gpu_percent, status.batch):
        message = (
            f"now {status.gpu_percent} GPU% with batches of {status.batch}, "
            f"before {before.gpu_percent} GPU% with batches of {before.batch}"
        )
        yield EventNote(ref_of(model), EventType.NORMAL, "Replanned", "Plan", message)


def _starting(outlook: Outlook) -> Iterator[EventNote]:
    """New workers of a model that had some before; the first ones go without saying."""
    shown = {placement.partition for placement in outlook.model.status.placements}
    if not shown:
        return
    why, replaces = _why_moving(outlook), bool(outlook.partitions.spare)
    reason = "Moving" if why else "Swapping" if replaces else "Adding"
    for target in outlook.partitions.started:
        if target.name not in shown:
            message = f"{why}bringing up {target.name} on {target.place}"
            message += "; the old worker drains when the new one serves" if replaces else ""
            action = "Add" if reason == "Adding" else "Swap"
            yield EventNote(ref_of(outlook.model), EventType.NORMAL, reason, action, message)


def _why_moving(outlook: Outlook) -> str:
    """Why its old workers' GPUs are to be left, with a colon; nothing where they are not."""
    sites = [outlook.inventory.by_uuid.get(pod.device_uuid) for pod in outlook.partitions.unwanted]
    reasons = [
        site.why if site else "its GPU is gone"
        for site in sites
        if site is None or site.standing is Standing.LEAVING
    ]
    return "; ".join(dict.fromkeys(reasons)) + ": " if reasons else ""
