"""What a system made of a scenario: figures of each model over all of its GPUs, and of the GPUs together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kneescale.core.units import NS_PER_S, WHOLE_GPU_PERCENT
from kneescale.sim.fairness import fair_shares, jain
from kneescale.sim.record import Record
from kneescale.sim.tenant import Tenant


@dataclass(frozen=True, slots=True)
class ModelOutcome:
    """One model, over the requests that arrived after the warm-up. Dropped ones were sent, and missed.

    `useful_area` is the part of all GPUs' area that its answers would take at their cheapest, 0 to 1.
    """

    sent: int
    answered: int
    dropped: int
    within_slo: int
    goodput_rps: float
    p50_ms: float | None
    p99_ms: float | None
    mean_batch: float | None
    useful_area: float

    @property
    def attainment(self) -> float:
        """The share of all requests that were answered within the SLO; 1 where there was none."""
        return self.within_slo / self.sent if self.sent else 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One system on one scenario; models by name."""

    models: dict[str, ModelOutcome]
    #: Jain's index of what each model had of what weighted max-min fair GPUs owe it; 1 is fair.
    fairness: float

    @property
    def attainment(self) -> float:
        """The worst model's attainment."""
        return min(model.attainment for model in self.models.values())

    @property
    def overall_attainment(self) -> float:
        """The share of all models' requests that were answered within their SLOs."""
        models = self.models.values()
        return sum(model.within_slo for model in models) / max(1, sum(model.sent for model in models))

    @property
    def utilization(self) -> float:
        """The part of the GPUs' area that the answers would take at their cheapest, 0 to 1.

        A GPU that is kept busy badly does not count as used.
        """
        return sum(model.useful_area for model in self.models.values())

    @property
    def dropped(self) -> int:
        """Requests that were refused."""
        return sum(model.dropped for model in self.models.values())


def outcome_of(records: Sequence[Record]) -> Outcome:
    """The figures of one run, from the record of each of its GPUs."""
    replicas: dict[str, list[tuple[Record, int]]] = {}
    for record in records:
        for number, tenant in enumerate(record.tenants):
            replicas.setdefault(tenant.name, []).append((record, number))
    models = {name: _model(of_one, len(records)) for name, of_one in replicas.items()}
    return Outcome(models, jain(list(_served_parts(records))))


def _model(replicas: Sequence[tuple[Record, int]], gpus: int) -> ModelOutcome:
    waits_ms = np.concatenate([record.waits_ms(number) for record, number in replicas])
    batches = np.concatenate([record.batches(number) for record, number in replicas])
    p50_ms, p99_ms = np.percentile(waits_ms, (50, 99)).tolist() if waits_ms.size else (None, None)
    within_slo = sum(record.within_slo[number] for record, number in replicas)
    return ModelOutcome(
        sent=sum(record.sent[number] for record, number in replicas),
        answered=waits_ms.size,
        dropped=sum(record.dropped[number] for record, number in replicas),
        within_slo=within_slo,
        goodput_rps=within_slo * NS_PER_S / replicas[0][0].span_ns,
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        mean_batch=float(batches.mean()) if batches.size else None,
        useful_area=sum(_useful_area(*replica) for replica in replicas) / gpus,
    )


def _useful_area(record: Record, number: int) -> float:
    return _area(record.tenants[number], int(record.batches(number).sum()), record.span_ns)


def _area(tenant: Tenant, requests: int, span_ns: int) -> float:
    return requests * tenant.area_per_item / (WHOLE_GPU_PERCENT * span_ns)


def _served_parts(records: Sequence[Record]) -> Iterator[float]:
    """What each replica had, as a part of what its GPU owes it."""
    for record in records:
        numbers = range(len(record.tenants))
        asked = [_area(record.tenants[n], record.sent[n], record.span_ns) for n in numbers]
        owed = fair_shares(asked, [tenant.weight for tenant in record.tenants])
        yield from (min(1.0, _useful_area(record, n) / owed[n]) for n in numbers if owed[n] > 0)
