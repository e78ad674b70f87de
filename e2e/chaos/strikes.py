"""Which fault strikes when: drawn beforehand from a seed, so that a run can be had again."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

MEAN_GAP_S = 20.0


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault that is to happen `at_s` after the load began; `draw` in [0, 1) chooses its victim."""

    at_s: float
    fault: str
    draw: float


def draw_strikes(faults: Sequence[str], duration_s: float, seed: int) -> list[Strike]:
    """Strikes with exponential gaps of MEAN_GAP_S on average; each takes the next fault of a shuffled deck.

    A deck holds every fault once, so that none is left out for long.
    """
    random = Random(seed)
    strikes: list[Strike] = []
    deck: list[str] = []
    at_s = random.expovariate(1 / MEAN_GAP_S)
    while at_s < duration_s:
        if not deck:
            deck = random.sample(list(faults), len(faults))
        strikes.append(Strike(at_s, deck.pop(), random.random()))
        at_s += random.expovariate(1 / MEAN_GAP_S)
    return strikes
