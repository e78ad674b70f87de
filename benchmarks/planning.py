"""How long planning takes, and how close its number of GPUs is to the bound: 10 to 1,000 models.

    python -m benchmarks.planning

Models are the catalog's with SLOs of 2 to 6 times their latency at 40 GPU% and batch 4, workers of 0.5 to
2 GiB on GPUs of 16 GiB, and rates drawn so that each model takes 0.8 of a GPU in the mean, which is what a
plan loads a GPU with: so there are about as many GPUs as models. `kneescale plan` also looks at what the
operator, which places by other rules, makes of those GPUs.
"""

import random
import sys
from itertools import cycle, islice
from time import perf_counter

from kneescale.cli.fleet_search import replicable
from kneescale.cli.operator_view import operator_view
from kneescale.core.planning.fleet import gpus_at_least, size_fleet
from kneescale.core.planning.fluid import GpuPool, Workload, least_area_per_item
from kneescale.core.surfaces.catalog import catalog
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import PERMILLE, WHOLE_GPU_PERCENT

PRODUCT = "V100"
POOL = GpuPool(PRODUCT, 1, 16)
AREA_LIMIT_PERMILLE = 800
MEAN_AREA = 0.8
SIZES = (10, 100, 300, 1000)


def main() -> int:
    """Print one line for each number of models."""
    for models in SIZES:
        workloads = _workloads(models)
        before_s = perf_counter()
        bound = gpus_at_least(workloads, POOL, AREA_LIMIT_PERMILLE / PERMILLE)
        bounded_s = perf_counter()
        fleet = size_fleet(
            [replicable(workload, PRODUCT) for workload in workloads],
            POOL,
            area_limit_permille=AREA_LIMIT_PERMILLE,
            at_least=bound,
        )
        planned_s = perf_counter()
        view = operator_view(workloads, POOL, fleet.gpus, clients_each=1)
        viewed_s = perf_counter()
        sys.stdout.write(
            f"{models:5} models: {fleet.gpus:5} GPUs, {fleet.gpus / bound - 1:5.1%} above the bound of "
            f"{bound}; {planned_s - bounded_s:6.2f} s to plan, {bounded_s - before_s:5.2f} s to bound; "
            f"the operator takes {view.gpus}: {viewed_s - planned_s:.2f} s\n"
        )
    return 0


def _workloads(models: int) -> list[Workload]:
    draw = random.Random(1)
    return [
        _workload(f"{model.name}-{number}", model.surface(), draw)
        for number, model in enumerate(islice(cycle(catalog()), models))
    ]


def _workload(name: str, surface: LatencySurface, draw: random.Random) -> Workload:
    slo_ms = draw.uniform(2, 6) * surface.latency_ms(40, 4)
    area_percent = WHOLE_GPU_PERCENT * draw.expovariate(1 / MEAN_AREA)
    rate_rps = area_percent / least_area_per_item(surface, slo_ms)
    return Workload(name, rate_rps, slo_ms, {PRODUCT: surface}, memory_gib=draw.uniform(0.5, 2))


if __name__ == "__main__":
    raise SystemExit(main())
