"""The Node's condition KneescaleGPUsReady, and an Event when it changes: how an admin sees its GPUs."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event

from kneescale.agent.backend import Backend, Device, Trouble
from kneescale.agent.cluster_api import ClusterApi, ClusterError, Manifest
from kneescale.api.conditions import ConditionStatus, format_time
from kneescale.api.events import render_event
from kneescale.core.units import NS_PER_S

log = logging.getLogger(__name__)

CONDITION = "KneescaleGPUsReady"
_CONTROLLER = "kneescale.dev/agent"
_PERIOD_S = 2.0
#: Told again after this long, in case the Node was made anew.
_REPEAT_NS = 60 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether this node has a GPU to run on; `message` also names those that are not used."""

    ready: bool
    reason: str
    message: str


def readiness(backend: str, devices: Sequence[Device], troubles: Sequence[Trouble]) -> Readiness:
    """True as long as one device can be used; without any, the first trouble is the reason."""
    sick = [device for device in devices if device.sickness]
    left_out = {device.name for device in sick} | {trouble.device for trouble in troubles}
    usable = sum(device.name not in left_out for device in devices)
    problems = [f"{device.name} is sick ({device.sickness})" for device in sick]
    problems += [trouble.message for trouble in troubles]
    message = "; ".join([f"{usable} of {len(devices)} {backend} devices can be used", *problems])
    if usable:
        return Readiness(True, "SomeLeftOut" if problems else "AllReady", message)
    reasons = [device.sickness for device in sick] + [trouble.reason for trouble in troubles]
    return Readiness(False, reasons[0] if reasons else "NoGpus", message)


class NodeReporter:
    """Keeps the condition true, and posts an Event each time that it says something else."""

    def __init__(self, api: ClusterApi, node_name: str, backend: Backend) -> None:
        self._api = api
        self._node_name = node_name
        self._backend = backend
        self._told: Readiness | None = None
        self._told_ns = 0

    def run(self, stop: Event) -> None:
        """Report changes until `stop`."""
        while not stop.is_set():
            self.report(time.monotonic_ns(), datetime.now(UTC))
            stop.wait(_PERIOD_S)

    def report(self, now_ns: int, now: datetime) -> None:
        """Tell the API server where there is something new, or nothing was told for a minute."""
        found = readiness(self._backend.name, self._backend.devices(), self._backend.troubles())
        if found == self._told and now_ns - self._told_ns < _REPEAT_NS:
            return
        try:
            self._tell(found, now)
        except ClusterError as error:
            log.warning("the condition %s of the node is not told: %s", CONDITION, error)
            return
        self._told, self._told_ns = found, now_ns

    def _tell(self, found: Readiness, now: datetime) -> None:
        node = self._api.get_node(self._node_name)
        before = _condition_of(node)
        condition = _render(found, before, now)
        self._api.patch_node_condition(self._node_name, condition)
        if any(condition[key] != before.get(key) for key in ("status", "reason", "message")):
            log.info("%s is %s: %s", CONDITION, condition["status"], found.message)
            kind = "Normal" if found.reason == "AllReady" else "Warning"
            self._api.create_event(node_event(node, kind, found.reason, "Inventory", found.message, now))


def _condition_of(node: Manifest) -> Manifest:
    """The condition that the Node has; empty where it has none."""
    conditions = node.get("status", {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == CONDITION), {})


def _render(found: Readiness, before: Manifest, now: datetime) -> Manifest:
    status = ConditionStatus.TRUE if found.ready else ConditionStatus.FALSE
    same = before.get("status") == status.value
    return {
        "type": CONDITION,
        "status": status.value,
        "reason": found.reason,
        "message": found.message,
        "lastHeartbeatTime": format_time(now),
        "lastTransitionTime": before["lastTransitionTime"] if same else format_time(now),
    }


def node_event(node: Manifest, kind: str, reason: str, action: str, note: str, now: datetime) -> Manifest:
    """An Event of the agent on its Node; `kind` is Normal or Warning."""
    name = node["metadata"]["name"]
    return render_event(
        {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node["metadata"]["uid"]},
        controller=_CONTROLLER,
        instance=name,
        type_=kind,
        reason=reason,
        action=action,
        note=note,
        now=now,
    )
