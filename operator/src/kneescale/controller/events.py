"""Kubernetes Events: what the operator decided, where `kubectl describe` shows it."""

import logging
import socket
from collections.abc import Iterable
from datetime import UTC, datetime

from kneescale.api.events import render_event
from kneescale.controller.api_server import ApiError, ApiServer
from kneescale.controller.resources import Object
from kneescale.plan.state import EventNote

logger = logging.getLogger(__name__)

_CONTROLLER = "kneescale.dev/operator"


async def post(api: ApiServer, notes: Iterable[EventNote]) -> None:
    """Log each decision and post it as an Event; one that cannot be posted is only logged."""
    for note in notes:
        regarding = f"{note.regarding.namespace}/{note.regarding.name}"
        fields = _about(note)
        logger.info("%s: %s", regarding, note.message, extra=fields)
        try:
            await api.create(render(note, datetime.now(UTC)))
        except ApiError as error:
            logger.warning("no Event for %s: %s", regarding, error, extra=fields)


def _about(note: EventNote) -> dict[str, str]:
    """What a line of the log about a decision is about: its model and its GPUs."""
    regarding = note.regarding
    about = {"reason": note.reason, "kind": regarding.kind, "namespace": regarding.namespace}
    about["model"] = regarding.name
    return about | ({"device": note.device} if note.device else {})


def render(note: EventNote, now: datetime) -> Object:
    """The Event as events.k8s.io/v1 wants it."""
    regarding = note.regarding
    return render_event(
        {
            "apiVersion": regarding.api_version,
            "kind": regarding.kind,
            "namespace": regarding.namespace,
            "name": regarding.name,
            "uid": regarding.uid,
        },
        controller=_CONTROLLER,
        instance=socket.gethostname(),
        type_=note.type,
        reason=note.reason,
        action=note.action,
        note=note.message,
        now=now,
    )
