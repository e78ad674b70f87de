"""How long a decision of the dispatcher takes, in microseconds of a core, with 8 and with 50 models.

    python -m benchmarks.dispatcher

Poisson arrivals drive the spatio-temporal policy on the catalog's figures; simulated workers answer. The
planned runs together take half the device's area, split evenly: with more models each one has less. What is
counted is the thread's own time on a core, so that a machine that does other things changes little.
"""

import sys
from itertools import cycle, islice
from time import thread_time_ns

from harness.device_loop import DeviceLoop, Load
from kneescale.core.dispatching.dispatcher import Dispatcher, Granted, PartitionTerms, Refused
from kneescale.core.dispatching.policies import policy_named
from kneescale.core.planning.configuration import choose_configuration
from kneescale.core.surfaces.catalog import CatalogModel, catalog
from kneescale.core.surfaces.surface import doubling_batches
from kneescale.core.units import MS_PER_S, NS_PER_MS, NS_PER_US, ms_to_ns
from kneescale.core.wire import Role

LANES = tuple(range(10, 101, 10))
MAX_BATCH = 16
SLO_FACTOR = 4
AREA_SHARE = 0.5
SECONDS = 5
#: As the agent's: what follows a run on its lane is decided before it ends.
LEAD_NS = NS_PER_MS
#: What a decision may take on average, in microseconds, by the number of models.
BARS_US = {8: 20, 50: 100}


class TimedLoop(DeviceLoop):
    """Notes how long each decision takes: what to refuse, then what to grant."""

    def __init__(self, loads: dict[str, Load]) -> None:
        super().__init__(Dispatcher(policy_named("SpatioTemporal"), LEAD_NS), loads)
        self.took_ns: list[int] = []

    def decide(self, now_ns: int) -> tuple[list[Refused], list[Granted]]:
        """See DeviceLoop."""
        began_ns = thread_time_ns()
        decided = super().decide(now_ns)
        self.took_ns.append(thread_time_ns() - began_ns)
        return decided


def main() -> int:
    """Print one line for each number of models."""
    for models, bar_us in BARS_US.items():
        loop = TimedLoop(_loads(models))
        result = loop.run(SECONDS)
        took_ns = sorted(loop.took_ns)
        mean_us = sum(took_ns) / len(took_ns) / NS_PER_US
        p99_us = took_ns[len(took_ns) * 99 // 100] / NS_PER_US
        sys.stdout.write(
            f"{models:3} models: {mean_us:6.1f} us a decision (bar {bar_us}), p99 {p99_us:6.1f} us "
            f"({len(took_ns)} decisions, {result.grants} grants, "
            f"worst attainment {result.worst_attainment:.3f})\n"
        )
    return 0


def _loads(models: int) -> dict[str, Load]:
    chosen = islice(cycle(catalog()), models)
    return {f"{model.name}-{index}": _load(model, AREA_SHARE / models) for index, model in enumerate(chosen)}


def _load(model: CatalogModel, area_share: float) -> Load:
    """One model at the rate that its planned run serves with that share of the area."""
    surface = model.surface(LANES, doubling_batches(MAX_BATCH))
    slo_ms = SLO_FACTOR * surface.latency_ms(40, 4)
    plan = choose_configuration(surface, slo_ms=slo_ms, rate_rps=None, lanes=LANES, max_batch=MAX_BATCH)
    rate_rps = area_share * MS_PER_S * plan.batch / (plan.latency_ms * plan.gpu_percent / 100)
    terms = PartitionTerms(Role.SERVE, ms_to_ns(slo_ms), 1, plan.gpu_percent, plan.batch, LANES, surface)
    return Load(terms, rate_rps)


if __name__ == "__main__":
    raise SystemExit(main())
