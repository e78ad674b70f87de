"""Kubernetes Events: what the operator decided, where `kubectl describe` shows it."""

import logging
import socket
from collections.abc import Iterable
from datetime import UTC, datetime

from kneescale.controller.api_server import ApiError, ApiServer
from kneescale.controller.resources import Object
from kneescale.plan.state import EventNote

logger = logging.getLogger(__name__)

_CONTROLLER = "kneescale.dev/operator"
#: Where Events on cluster-scoped objects go.
_DEFAULT_NAMESPACE = "default"
_MAX_NOTE_BYTES = 1024


async def post(api: ApiServer, notes: Iterable[EventNote]) -> None:
    """Log each decision and post it as an Event; one that cannot be posted is only logged."""
    for note in notes:
        regarding = f"{note.regarding.namespace}/{note.regarding.name}"
        fields = {"reason": note.reason, "kind": note.regarding.kind, "object": regarding}
        logger.info("%s: %s", regarding, note.message, extra=fields)
        try:
            await api.create(render(note, datetime.now(UTC)))
        except ApiError as error:
            logger.warning("no Event for %s: %s", regarding, error, extra=fields)


def render(note: EventNote, now: datetime) -> Object:
    """The Event as events.k8s.io/v1 wants it."""
    regarding = note.regarding
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "generateName": f"{regarding.name}-",
            "namespace": regarding.namespace or _DEFAULT_NAMESPACE,
        },
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": _CONTROLLER,
        "reportingInstance": socket.gethostname(),
        "type": note.type,
        "reason": note.reason,
        "action": note.action,
        "note": note.message.encode()[:_MAX_NOTE_BYTES].decode(errors="ignore"),
        "regarding": {
            "apiVersion": regarding.api_version,
            "kind": regarding.kind,
            "namespace": regarding.namespace,
            "name": regarding.name,
            "uid": regarding.uid,
        },
    }
