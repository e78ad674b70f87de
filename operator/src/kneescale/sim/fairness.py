"""Who had how much of a GPU, against what a fair one owes each."""

from collections.abc import Sequence


def jain(values: Sequence[float]) -> float:
    """Jain's fairness index: 1 where all are equal, 1/n where one has everything; 1 for none or all zero."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def fair_shares(demands: Sequence[float], weights: Sequence[int]) -> list[float]:
    """Weighted max-min fair shares of one whole: nobody gets more than its demand, nothing wanted is left."""
    left = 1.0
    shares = [0.0] * len(demands)
    hungry = sorted(range(len(demands)), key=lambda index: demands[index] / weights[index])
    while hungry:
        total_weight = sum(weights[index] for index in hungry)
        index = hungry.pop(0)
        shares[index] = min(demands[index], left * weights[index] / total_weight)
        left -= shares[index]
    return shares
