"""When a Job that failed is tried again."""

from datetime import datetime, timedelta

from kneescale.plan.workloads import Job

_FIRST_RETRY = timedelta(minutes=1)
#: Up to 32 minutes.
_MOST_DOUBLINGS = 5


def next_try_at(job: Job, failed_at: datetime) -> datetime:
    """1, 2, 4, ... minutes after it failed."""
    pause: timedelta = _FIRST_RETRY * 2 ** min(job.attempt - 1, _MOST_DOUBLINGS)
    return failed_at + pause
