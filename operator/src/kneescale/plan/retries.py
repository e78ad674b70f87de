"""When a Job that failed is tried again."""

from datetime import datetime, timedelta

from kneescale.core.backoff import Backoff
from kneescale.plan.workloads import Job

_BACKOFF = Backoff(first_s=60, longest_s=32 * 60)


def next_try_at(job: Job, failed_at: datetime) -> datetime:
    """1, 2, 4, ... 32 minutes after it failed."""
    return failed_at + timedelta(seconds=_BACKOFF.wait_s(job.attempt))
