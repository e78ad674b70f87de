"""Kubernetes Events (events.k8s.io/v1), where `kubectl describe` shows what was decided and why."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

#: Where Events on cluster-scoped objects go.
_DEFAULT_NAMESPACE = "default"
_MAX_NOTE_BYTES = 1024


def render_event(
    regarding: Mapping[str, str],
    *,
    controller: str,
    instance: str,
    type_: str,
    reason: str,
    action: str,
    note: str,
    now: datetime,
) -> dict[str, Any]:
    """An Event about the object `regarding` (apiVersion, kind, namespace, name, uid); a long note is cut."""
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "generateName": f"{regarding['name']}-",
            "namespace": regarding.get("namespace") or _DEFAULT_NAMESPACE,
        },
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": controller,
        "reportingInstance": instance,
        "type": type_,
        "reason": reason,
        "action": action,
        "note": note.encode()[:_MAX_NOTE_BYTES].decode(errors="ignore"),
        "regarding": dict(regarding),
    }
