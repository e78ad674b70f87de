"""Percentiles of what was measured."""

from collections.abc import Sequence

import numpy as np


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return the smallest of the values that at least `percent` of them do not pass."""
    return round(float(np.percentile(values, percent, method="inverted_cdf")), 2) if values else None
