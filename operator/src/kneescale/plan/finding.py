"""A finding: what the plan has to say about one condition of a model."""

from dataclasses import dataclass
from enum import StrEnum

from kneescale.api.conditions import ConditionStatus


class EventType(StrEnum):
    """How loudly an Event tells a finding."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a condition holds and why: `reason` is a CamelCase word, `message` a sentence with numbers."""

    status: ConditionStatus
    reason: str
    message: str
    #: The Event that tells of it; None where another condition's Event has said it all.
    event: EventType | None


def holds(reason: str, message: str) -> Finding:
    """The condition holds."""
    return Finding(ConditionStatus.TRUE, reason, message, EventType.NORMAL)


def not_yet(reason: str, message: str) -> Finding:
    """The condition does not hold, but it is being worked on."""
    return Finding(ConditionStatus.FALSE, reason, message, EventType.NORMAL)


def fails(reason: str, message: str) -> Finding:
    """The condition does not hold, and somebody may have to change something."""
    return Finding(ConditionStatus.FALSE, reason, message, EventType.WARNING)


def blocked(reason: str, message: str) -> Finding:
    """The condition does not hold because an earlier one does not."""
    return Finding(ConditionStatus.FALSE, reason, message, None)


def unknown(reason: str, message: str) -> Finding:
    """Nothing can be said yet."""
    return Finding(ConditionStatus.UNKNOWN, reason, message, None)
