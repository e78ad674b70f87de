"""A linear programme row by row, solved by HiGHS."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import coo_array

from kneescale.core.errors import InfeasibleError


class LinearProgramme:
    """Unknowns of at least 0, each up to its bound, under rows of the form sum of terms <= limit."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._terms: list[tuple[int, int, float]] = []
        self._limits: list[float] = []

    def add(self, terms: Iterable[tuple[int, float]], limit: float = 0.0) -> int:
        """Add a row of (unknown, coefficient) and return its number."""
        row = len(self._limits)
        self._terms.extend((row, unknown, coefficient) for unknown, coefficient in terms)
        self._limits.append(limit)
        return row

    def maximise(self, unknown: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The unknowns where that one is largest, and each row's dual price: its gain per unit of limit.

        Raises InfeasibleError where no values meet all rows.
        """
        objective = np.zeros(len(self._bounds))
        objective[unknown] = -1
        rows, unknowns, coefficients = zip(*self._terms, strict=True)
        matrix = coo_array(
            (coefficients, (rows, unknowns)), shape=(len(self._limits), len(self._bounds))
        ).tocsr()
        bounds = [(0, bound) for bound in self._bounds]
        # The stubs know of no sparse matrix.
        result = linprog(objective, A_ub=matrix, b_ub=self._limits, bounds=bounds)  # type: ignore[call-overload]
        if result.status != 0:
            raise InfeasibleError(f"no values meet every limit: {result.message}")
        return result.x, -result.ineqlin.marginals
