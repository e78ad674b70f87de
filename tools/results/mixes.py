"""The mixes of models that policies are compared on, each with a fluid bound of load 1 on one GPU."""

from collections.abc import Iterator, Mapping

import numpy as np

from kneescale.core.surfaces.surface import LatencySurface, Point
from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.sim.mixes import PAPER_MIXES, mix, mix_slo_ms
from kneescale.sim.scenario import ScenarioModel
from tools.results.compiled import compiled_surfaces

Models = tuple[ScenarioModel, ...]

#: Which random mixes: another number, others. Some constants of the policy were chosen with the first ones in
#: view (docs/adr/0031, 0032). By the second ones nothing of `dstack` with free lanes was chosen, and nothing
#: may be; some constants of how pools of lanes are chosen were (docs/adr/0035).
SEED = 2026
FRESH_SEED = 2027

RANDOM_SIZES = (5, 8)
COMPILED_SIZES = (2, 3, 4)
RANDOM_UNSEEN_SIZES = (2, 5, 8, 10)
#: The SLO of a model that was not seen, in latencies at the knee.
UNSEEN_SLO_FACTORS = (1.5, 5.0)


def measured_mixes(surfaces: Mapping[str, LatencySurface]) -> dict[str, Models]:
    """The paper's mixes, and random ones with random shares of the area."""
    rng = np.random.default_rng(SEED)
    mixes = {name: mix({model: surfaces[model] for model in models}) for name, models in PAPER_MIXES.items()}
    for size in RANDOM_SIZES:
        chosen = rng.choice(sorted(surfaces), size, replace=False)
        shares = rng.dirichlet([4.0] * size).tolist()
        mixes[f"R-{size}"] = mix({str(model): surfaces[str(model)] for model in chosen}, shares)
    return mixes


def unseen_mixes() -> dict[str, Models]:
    """Models of other surfaces than the measured ones: compiled engines, and random ones."""
    compiled = list(compiled_surfaces().items())
    mixes = {}
    for size in COMPILED_SIZES:
        rng = np.random.default_rng([SEED, size])
        mixes[f"T-{size}"] = _unseen(dict(compiled[:size]), rng)
    return {**mixes, **_random_mixes("U", SEED)}


def fresh_mixes() -> dict[str, Models]:
    """Random ones as the unseen: what was chosen by them, and what was not, is said at FRESH_SEED."""
    return _random_mixes("V", FRESH_SEED)


def _random_mixes(letter: str, seed: int) -> dict[str, Models]:
    mixes = {}
    for size in RANDOM_UNSEEN_SIZES:
        rng = np.random.default_rng([seed, size])
        surfaces = {f"u{number}": LatencySurface.from_points(_points(rng)) for number in range(size)}
        mixes[f"{letter}-{size}"] = _unseen(surfaces, rng)
    return mixes


def _unseen(surfaces: Mapping[str, LatencySurface], rng: np.random.Generator) -> Models:
    """The mix with random SLOs, by the rule of the paper's mixes with another factor, and random shares."""
    shares = rng.dirichlet([4.0] * len(surfaces)).tolist()
    slos_ms = {
        name: mix_slo_ms(surface, float(rng.uniform(*UNSEEN_SLO_FACTORS)))
        for name, surface in surfaces.items()
    }
    return mix(surfaces, shares, slos_ms=slos_ms)


def _points(rng: np.random.Generator) -> Iterator[Point]:
    """A random latency surface: a host floor, a serial part, and work over the GPU% that a batch can use.

    With little of the first two and much parallelism, as of TensorRT's engines, it has no knee.
    """
    item_ms = rng.uniform(0.1, 2.0)
    host_ms = rng.choice([0.2, 3.0, 15.0]) * rng.uniform(0.5, 1.5)
    serial_ms = rng.choice([0.0, 0.1, 0.4]) * item_ms
    fixed_ms = rng.uniform(0.0, 2.0) * item_ms
    usable_percent, grows = rng.uniform(15, 100), rng.uniform(0.2, 0.6)
    for batch in [1, 2, 4, 8, 16][: int(rng.integers(4, 6))]:
        most_percent = min(float(WHOLE_GPU_PERCENT), usable_percent * batch**grows)
        for gpu_percent in range(5, WHOLE_GPU_PERCENT + 1, 5):
            spread = WHOLE_GPU_PERCENT / min(gpu_percent, most_percent)
            work_ms = serial_ms * batch + (fixed_ms + item_ms * batch) * spread
            yield Point(gpu_percent, batch, float(max(host_ms, work_ms)))
