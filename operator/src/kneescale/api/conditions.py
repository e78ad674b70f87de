"""Status conditions as metav1.Condition defines them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from kneescale.api.codec import Items, Range, Text
from kneescale.api.vocabulary import Time


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Condition:
    """One observed fact about a resource; `reason` is for programs, `message` for people."""

    type: Annotated[str, Text(max_length=316, min_length=1)]
    status: ConditionStatus
    last_transition_time: Time
    reason: Annotated[str, Text(max_length=1024, min_length=1)]
    message: Annotated[str, Text(max_length=32768)]
    observed_generation: Annotated[int | None, Range(0)] = None


Conditions = Annotated[tuple[Condition, ...], Items(max_items=8, map_keys=("type",))]


def find_condition(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of that type, if there is one."""
    return next((condition for condition in conditions if condition.type == kind), None)


def carried_over(new: Condition, previous: Iterable[Condition]) -> Condition:
    """`new` with the transition time of its predecessor when the status has not changed."""
    before = find_condition(previous, new.type)
    if before is None or before.status != new.status:
        return new
    return replace(new, last_transition_time=before.last_transition_time)


def format_time(time: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as the API server writes times."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """The inverse of `format_time`; fractions of a second are accepted."""
    return datetime.fromisoformat(text)
