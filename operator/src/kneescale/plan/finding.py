"""A finding: what the plan has to say about one condition of a model."""

from dataclasses import dataclass

from kneescale.api.conditions import ConditionStatus


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a condition holds and why: `reason` is a CamelCase word, `message` a sentence with numbers."""

    status: ConditionStatus
    reason: str
    message: str
    #: Whether this is worth a warning, and not just a step on the way.
    alarming: bool = False


def holds(reason: str, message: str) -> Finding:
    """The condition holds."""
    return Finding(ConditionStatus.TRUE, reason, message)


def not_yet(reason: str, message: str) -> Finding:
    """The condition does not hold, and nobody needs to do anything about it."""
    return Finding(ConditionStatus.FALSE, reason, message)


def fails(reason: str, message: str) -> Finding:
    """The condition does not hold, and somebody may have to change something."""
    return Finding(ConditionStatus.FALSE, reason, message, alarming=True)


def unknown(reason: str, message: str) -> Finding:
    """Nothing can be said yet."""
    return Finding(ConditionStatus.UNKNOWN, reason, message)
