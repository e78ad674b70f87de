"""Conditions keep the time of their last transition."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from kneescale.api.conditions import Condition, ConditionStatus, carried_over, format_time, parse_time

BEFORE = Condition("Ready", ConditionStatus.TRUE, "2026-01-01T00:00:00Z", "Serving", "1 worker serves", 1)


def test_the_time_stays_while_the_status_does() -> None:
    now = replace(BEFORE, last_transition_time="2026-02-02T00:00:00Z", reason="Other", message="other")
    assert carried_over(now, [BEFORE]).last_transition_time == BEFORE.last_transition_time
    assert carried_over(now, [BEFORE]).reason == "Other"


def test_the_time_is_new_when_the_status_is() -> None:
    now = replace(BEFORE, status=ConditionStatus.FALSE, last_transition_time="2026-02-02T00:00:00Z")
    assert carried_over(now, [BEFORE]) == now
    assert carried_over(now, []) == now


def test_times_are_written_in_utc_and_read_back() -> None:
    time = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert format_time(time) == "2026-01-01T10:00:00Z"
    assert parse_time(format_time(time)) == time
    assert parse_time("2026-01-01T10:00:00.250000Z") == datetime(2026, 1, 1, 10, 0, 0, 250_000, UTC)
