"""How many request events the simulator takes in a second of a core: each request comes, and is answered.

    python -m benchmarks.simulator

The paper's mixes on the catalog's figures, at a load near what they carry, under the product's own dispatcher
and, for what the simulator takes by itself, under Triton's scheduler. What is counted is the thread's own
time on a core; drawing the arrivals is part of it.
"""

import sys
from dataclasses import replace
from time import thread_time

from kneescale.core.surfaces.catalog import catalog
from kneescale.sim.mixes import PAPER_MIXES, mix
from kneescale.sim.scenario import ScenarioModel
from kneescale.sim.systems import SYSTEMS
from tools.results.study import POISSON, tenants_of

LOAD = 0.8
SECONDS = 60.0
SYSTEM_NAMES = ("dstack", "triton")
EVENTS_OF_A_REQUEST = 2
GOAL_PER_S = 300_000


def main() -> int:
    """Print one line for each mix."""
    surfaces = {model.name: model.surface() for model in catalog()}
    for name, members in PAPER_MIXES.items():
        models = mix({member: surfaces[member] for member in members})
        rates = [f"{system} {_events_per_s(models, system):9,.0f}" for system in SYSTEM_NAMES]
        sys.stdout.write(
            f"{name} ({len(models)} models): {', '.join(rates)} request events/s (goal {GOAL_PER_S:,})\n"
        )
    return 0


def _events_per_s(models: tuple[ScenarioModel, ...], system: str) -> float:
    trial = replace(POISSON, duration_s=SECONDS)
    tenants = tenants_of(models)
    before_s = thread_time()
    record = trial.run(tenants, SYSTEMS[system][0].system, load=LOAD)
    return EVENTS_OF_A_REQUEST * sum(record.sent) / (thread_time() - before_s)


if __name__ == "__main__":
    raise SystemExit(main())
