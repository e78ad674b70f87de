"""What a system made of a scenario: figures of each model over all of its GPUs, and of the GPUs together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kneescale.core.units import NS_PER_S, WHOLE_GPU_PERCENT
from kneescale.sim.fairness import fair_shares, jain
from kneescale.sim.record import Record
from kneescale.sim.tenant import Tenant


@dataclass(frozen=True, slots=True)
class ModelOutcome:
    """One model, over the requests that arrived after the warm-up. Dropped ones were sent, and missed.

    `useful_area` is the part of all GPUs' area, 0 to 1, that its answers would take at their cheapest: those
    that came between the warm-up and the end, whenever they were asked for.
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
    def attainment(self) -> float | None:
        """The share of all requests that were answered within the SLO; None where there was none."""
        return self.within_slo / self.sent if self.sent else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One system on one scenario; models by name."""

    models: dict[str, ModelOutcome]
    #: Jain's index of what each model had of what weighted max-min fair GPUs owe it; 1 is fair.
    fairness: float

    @property
    def attainment(self) -> float | None:
        """The worst model's attainment; None where no request was sent."""
        known = (model.attainment for model in self.models.values())
        return min((attained for attained in known if attained is not None), default=None)

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


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """What became of one model on one GPU: all that figures are made of, which one process can hand another.

    A Record cannot be handed on where it is compiled.
    """

    tenant: Tenant
    span_ns: int
    sent: int
    dropped: int
    within_slo: int
    answered_meanwhile: int
    waits_ms: NDArray[np.float64]
    batches: NDArray[np.int64]


def served_on(record: Record) -> list[Served]:
    """What became of each model of one GPU."""
    return [
        Served(
            tenant=tenant,
            span_ns=record.span_ns,
            sent=record.sent[number],
            dropped=record.dropped[number],
            within_slo=record.within_slo[number],
            answered_meanwhile=record.answered_meanwhile[number],
            waits_ms=record.waits_ms(number),
            batches=record.batches(number),
        )
        for number, tenant in enumerate(record.tenants)
    ]


def outcome_of(records: Sequence[Record], gpus: int | None = None) -> Outcome:
    """The figures of one run on so many GPUs, from the record of each that has models: by default of all."""
    return outcome_on([served_on(record) for record in records], gpus)


def outcome_on(busy: Sequence[Sequence[Served]], gpus: int | None = None) -> Outcome:
    """The same from what became of each GPU's models."""
    replicas: dict[str, list[Served]] = {}
    for of_gpu in busy:
        for served in of_gpu:
            replicas.setdefault(served.tenant.name, []).append(served)
    models = {name: _model(of_one, gpus or len(busy)) for name, of_one in replicas.items()}
    return Outcome(models, jain([part for of_gpu in busy for part in _served_parts(of_gpu)]))


def _model(replicas: Sequence[Served], gpus: int) -> ModelOutcome:
    waits_ms = np.concatenate([served.waits_ms for served in replicas])
    batches = np.concatenate([served.batches for served in replicas])
    p50_ms, p99_ms = np.percentile(waits_ms, (50, 99)).tolist() if waits_ms.size else (None, None)
    within_slo = sum(served.within_slo for served in replicas)
    return ModelOutcome(
        sent=sum(served.sent for served in replicas),
        answered=waits_ms.size,
        dropped=sum(served.dropped for served in replicas),
        within_slo=within_slo,
        goodput_rps=within_slo * NS_PER_S / replicas[0].span_ns,
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        mean_batch=float(batches.mean()) if batches.size else None,
        useful_area=sum(map(_useful_area, replicas)) / gpus,
    )


def _useful_area(served: Served) -> float:
    # A queue that is never refused keeps a GPU busy with requests from long before.
    return _area(served, served.answered_meanwhile)


def _area(served: Served, requests: int) -> float:
    return requests * served.tenant.area_per_item / (WHOLE_GPU_PERCENT * served.span_ns)


def _served_parts(of_gpu: Sequence[Served]) -> Iterator[float]:
    """What each model had on one GPU, as a part of what the GPU owes it."""
    asked = [_area(served, served.sent) for served in of_gpu]
    owed = fair_shares(asked, [served.tenant.weight for served in of_gpu])
    yield from (
        min(1.0, _useful_area(served) / due) for served, due in zip(of_gpu, owed, strict=True) if due > 0
    )
