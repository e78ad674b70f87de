"""The account of a run: which requests were answered in time, and which fault explains the others."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from e2e.chaos.cores import PERIOD_S
from e2e.clients import tells_of_an_end
from e2e.demo.figures import BUCKET_S, Outcome, by_time
from e2e.recovery import FULL_ATTAINMENT
from kneescale.core.units import MS_PER_S

#: So long after it is over may a fault cost the models that it touches answers, as docs/failures.md has it.
#: All other faults must cost nobody any.
EXPLAINS_FOR_S = {
    "worker killed": 10.0,
    "worker hung": 20.0,
    "worker out of memory": 10.0,
    "worker gone mad": 10.0,
    # Over once all workers of the GPU have ended.
    "contexts lost": 10.0,
    # Its pod has 30 s to end. Who is connected to it by then notices after 5 s (keepalive), and may be led to
    # its address twice more: 2 s each until that is given up, and the client's pauses in between.
    "worker deleted": 45.0,
    # It is ended after 20 s without an answer (its liveness probe), and then workers have to catch up.
    "agent hung": 30.0,
    "node cut off": 60.0,
    # Whoever still connects to the address of a pod of before waits for as long as if the node were cut off.
    "node rebooted": 60.0,
}
#: What comes back needs the control plane and its node's kubelet, and does not while one of them is away...
_CONTROL_PLANE_AWAY, _KUBELET_RESTARTED = "control plane away", "kubelet restarted"
#: ...or has only just been started.
_KUBELET_STARTS_S = 20.0
#: What a worker says that cannot answer in time, as where it must do the work of one that is away; or ends.
_REFUSED = ("cannot be answered within the SLO", "would pass the queue's limit", "the worker exits")


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault in its turn, in seconds of this machine's monotonic clock."""

    fault: str
    victim: str
    #: With a worker that it ends, or on a node that it takes away.
    models: frozenset[str]
    began_s: float
    ended_s: float
    #: Where it was; empty where that was everywhere.
    node: str = ""
    #: That it did not come to pass, or only half-way, and why; empty where it did.
    error: str = ""


@dataclass(frozen=True, slots=True)
class Adversity:
    """What a run had to bear: the faults, and when each second began in which no core was free."""

    struck: Sequence[Struck]
    short_s: Sequence[float] = ()


def unexplained(
    model: str, outcomes: Sequence[Outcome], slo_ms: float, adversity: Adversity
) -> list[Outcome]:
    """The requests of a model without a right answer that nothing accounts for.

    A fault does for those of the models that it touches, until their attainment is back for good or its time
    is up, and as long for what others refuse: models share GPUs, and the cores on which workers start anew.
    Its time stands still while what comes back has no core, no control plane or no kubelet. What workers
    refuse in a moment without a free core is explained by that, also where it was due up to an SLO before.
    Wrong answers and errors that tell of anything but an end, a silence or a refusal are never explained.
    """
    touching = [fault for fault in adversity.struck if fault.models]
    spans = {fault: _span(fault, adversity, outcomes, slo_ms) for fault in touching}
    own = [span for fault, span in spans.items() if model in fault.models]
    short = ((at_s - slo_ms / MS_PER_S, at_s + BUCKET_S) for at_s in adversity.short_s)
    shared = [*spans.values(), *short]
    return [each for each in outcomes if not each.correct and not _explained(each, own, shared)]


def _explained(
    outcome: Outcome, own: Iterable[tuple[float, float]], of_all: Iterable[tuple[float, float]]
) -> bool:
    if any(words in outcome.error for words in _REFUSED):
        spans = of_all
    elif tells_of_an_end(outcome.error):
        spans = own
    else:
        return False
    return any(begin_s <= outcome.due_s <= end_s for begin_s, end_s in spans)


def _span(
    fault: Struck, adversity: Adversity, outcomes: Sequence[Outcome], slo_ms: float
) -> tuple[float, float]:
    """From when to when a fault accounts for failures."""
    last_s = fault.ended_s + EXPLAINS_FOR_S.get(fault.fault, 0.0)
    for began_s, ended_s in _standstills(fault, adversity):
        if began_s <= last_s:
            last_s += ended_s - began_s
    felt = [each for each in outcomes if fault.began_s <= each.due_s <= last_s]
    # A request that was waiting when the fault began failed by it, too.
    return fault.began_s - BUCKET_S, _back_s(attainment_over_time(felt, slo_ms, 0.0), last_s)


def _standstills(fault: Struck, adversity: Adversity) -> Iterator[tuple[float, float]]:
    """From when to when nothing could come back from a fault that was over: one after the other."""
    found = [(at_s, at_s + PERIOD_S) for at_s in adversity.short_s]
    for other in adversity.struck:
        if other.fault == _CONTROL_PLANE_AWAY:
            found.append((other.began_s, other.ended_s))
        elif other.fault == _KUBELET_RESTARTED and other.node == fault.node:
            found.append((other.began_s, other.ended_s + _KUBELET_STARTS_S))
    until_s = fault.ended_s
    for began_s, ended_s in sorted(found):
        if ended_s > until_s:
            yield max(began_s, until_s), ended_s
            until_s = ended_s


def _back_s(attainments: Iterable[tuple[float, float]], last_s: float) -> float:
    """When attainment is full for good, once it was not; at the latest `last_s`."""
    short_until_s = None
    for begin_s, attainment in attainments:
        # None may be missing just after a time that was not: a fault's last few are too few to see.
        if attainment < (1.0 if begin_s == short_until_s else FULL_ATTAINMENT):
            short_until_s = begin_s + BUCKET_S
    return last_s if short_until_s is None else min(last_s, short_until_s)


def attainment_over_time(
    outcomes: Sequence[Outcome], slo_ms: float, begin_s: float
) -> list[tuple[float, float]]:
    """(seconds after `begin_s`, attainment) for each BUCKET_S in which requests were due."""
    return [
        (from_s, sum(each.is_within(slo_ms) for each in of_one) / len(of_one))
        for from_s, of_one in by_time(outcomes, begin_s)
    ]


def overall(outcomes: Mapping[str, Sequence[Outcome]], slo_ms: Mapping[str, int]) -> float:
    """The attainment of all requests of all models."""
    met = [each.is_within(slo_ms[model]) for model, of_one in outcomes.items() for each in of_one]
    return sum(met) / len(met)
