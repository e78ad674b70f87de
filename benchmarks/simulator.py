"""How many request events the simulator takes in a second of a core: each request comes, and is answered.

    python -m benchmarks.simulator

The paper's mixes on the catalog's figures, at a load near what they carry, under the product's own dispatcher
and, for what the simulator takes by itself, under Triton's scheduler. What is counted is the thread's own
time on a core; drawing the arrivals is part of it.
"""

import gc
import sys
from time import thread_time

from kneescale.core.surfaces.catalog import catalog
from kneescale.sim.mixes import PAPER_MIXES, mix, tenants_of
from kneescale.sim.scenario import Poisson
from kneescale.sim.systems import SYSTEMS
from kneescale.sim.tenant import Tenant
from kneescale.sim.trial import Trial

LOAD = 0.8
TRIAL = Trial(Poisson(), duration_s=60, warmup_s=0)
SYSTEM_NAMES = ("dstack", "triton")
EVENTS_OF_A_REQUEST = 2
GOAL_PER_S = 300_000


def main() -> int:
    """Print one line for each mix."""
    gc.disable()  # as in the processes that `kneescale simulate` starts
    surfaces = {model.name: model.surface() for model in catalog()}
    for name, members in PAPER_MIXES.items():
        tenants = tenants_of(mix({member: surfaces[member] for member in members}))
        rates = [f"{system} {_events_per_s(tenants, system):9,.0f}" for system in SYSTEM_NAMES]
        sys.stdout.write(
            f"{name} ({len(tenants)} models): {', '.join(rates)} request events/s (goal {GOAL_PER_S:,})\n"
        )
    return 0


def _events_per_s(tenants: tuple[Tenant, ...], system: str) -> float:
    before_s = thread_time()
    record = TRIAL.run(tenants, SYSTEMS[system][0].system, load=LOAD)
    return EVENTS_OF_A_REQUEST * sum(record.sent) / (thread_time() - before_s)


if __name__ == "__main__":
    raise SystemExit(main())
