"""One model's whole plan, and what there is to say of it: its conditions in plain words, with the numbers."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from kneescale.api.conditions import ConditionStatus
from kneescale.api.gpu_schedule import PartitionStatus
from kneescale.api.inference_model import InferenceModel
from kneescale.api.resource_slice import one_of_each_kind
from kneescale.core.scaling.autoscaler import misses_too_many
from kneescale.core.units import GIB
from kneescale.plan.eligibility import Eligibility
from kneescale.plan.finding import EventType, Finding, blocked, fails, holds, not_yet, unknown
from kneescale.plan.inventory import Inventory, Site, Standing
from kneescale.plan.partitions import Partitions
from kneescale.plan.placing import Placing, Target
from kneescale.plan.profiles import Profile, subject_of
from kneescale.plan.profiling import Profiling
from kneescale.plan.scaling import Scaling
from kneescale.plan.scaling_words import asleep, scaled
from kneescale.plan.sizing import Size, Sizing
from kneescale.plan.words import counted
from kneescale.plan.workloads import Pod, Problem

ACCEPTED, PROFILED, PLACED, READY, SLO_MET = "Accepted", "Profiled", "Placed", "Ready", "SLOMet"
SCALED = "Scaled"


@dataclass(frozen=True, slots=True)
class Outlook:
    """What each step of the plan came to for one model."""

    model: InferenceModel
    eligibility: Eligibility
    profiling: Profiling
    scaling: Scaling
    sizing: Sizing
    placing: Placing
    partitions: Partitions
    inventory: Inventory
    #: What the agents measured for the model's partitions.
    measured: tuple[PartitionStatus, ...]
    apply_error: str | None

    @property
    def chosen(self) -> Target | None:
        """The partition whose numbers stand for the model."""
        return next(iter(self.placing.targets), None)


def find_all(outlook: Outlook) -> Mapping[str, Finding]:
    """A finding for each condition type, in the order in which they come true."""
    return {
        ACCEPTED: outlook.eligibility.accepted,
        PROFILED: _profiled(outlook),
        PLACED: _placed(outlook),
        READY: _ready(outlook),
        SLO_MET: _slo_met(outlook),
        SCALED: scaled(outlook.scaling, outlook.model),
    }


def _profiled(outlook: Outlook) -> Finding:
    devices = one_of_each_kind(outlook.eligibility.devices)
    if not devices:
        return unknown("NotPlaceable", "there is no GPU that the model may use")
    subjects = {kind: subject_of(outlook.model, device) for kind, device in devices.items()}
    pending = {
        kind: finding
        for kind, subject in subjects.items()
        if (finding := outlook.profiling.findings.get(subject))
    }
    known = {
        kind: profile
        for kind, subject in subjects.items()
        if (profile := outlook.profiling.profiles.get(subject))
    }
    if known:
        done = "; ".join(f"{kind}: {_profile_in_words(profile)}" for kind, profile in known.items())
        rest = "".join(f"; {kind}: {finding.message}" for kind, finding in pending.items())
        measured = any(profile.predicted_to_percent is None for profile in known.values())
        return holds("Profiled" if measured else "Predicted", done + rest)
    return max(pending.values(), key=lambda finding: finding.event is EventType.WARNING)


def _profile_in_words(profile: Profile) -> str:
    knee = knee_of(profile)
    if profile.predicted_to_percent is None:
        return knee
    return f"{knee}, as predicted to {profile.predicted_to_percent} %, which plans add to its times"


def knee_of(profile: Profile) -> str:
    """Where a profile's knee is, or how far it has none, in words."""
    *others, largest = profile.surface.gpu_percents
    if not others:
        return f"no knee, {largest} is the only GPU%"
    knee = knee_in_words(profile.knee_percent)
    return knee if profile.knee_percent else f"{knee} up to {largest} GPU%"


def knee_in_words(percent: int | None) -> str:
    """Where the knee is, or that none was found."""
    return f"knee at {percent} GPU%" if percent else "no knee found"


def _placed(outlook: Outlook) -> Finding:
    if outlook.scaling.is_asleep:
        return holds("Asleep", asleep(outlook.model))
    obstacle = outlook.eligibility.obstacle or outlook.sizing.obstacle or outlook.placing.obstacle
    if obstacle:
        return obstacle
    if not outlook.placing.targets:
        return unknown("NotProfiled", "is decided when the model is profiled")
    if stuck := _stuck(outlook):
        return stuck
    for target in outlook.partitions.waiting:
        return _waiting(target, outlook)
    where = ", ".join(target.place for target in outlook.placing.targets)
    message = f"on {where} at {_plan_in_words(outlook.placing.targets[0].size)}"
    if outlook.placing.squeezed:
        return fails("InsufficientGPU", f"{message}, which is less than arrives: {outlook.placing.squeezed}")
    if outlook.placing.shortfall:
        return holds("FewerReplicas", f"{message}; for more it {outlook.placing.shortfall}")
    held = dict.fromkeys(site.why for site in _sites(outlook) if site.standing is Standing.HELD)
    if held:
        message = f"{message}; for now it can neither change nor move: {'; '.join(held)}"
        return Finding(ConditionStatus.TRUE, "GPUAway", message, EventType.WARNING)
    return holds("Placed", message)


def _sites(outlook: Outlook) -> Iterator[Site]:
    for target in outlook.placing.targets:
        yield outlook.inventory.by_uuid[target.device.uuid]


def _plan_in_words(size: Size) -> str:
    plan, slowness = size.configuration, size.profile.slowness
    drift = "" if slowness == 1 else f" ({slowness:g} times what its profile says, as measured of late)"
    return f"{plan.gpu_percent} GPU% with batches of {plan.batch} in {plan.latency_ms:.3g} ms{drift}"


def _stuck(outlook: Outlook) -> Finding | None:
    """Whether it is on a GPU that it should leave, and no other takes it."""
    leaving = [site for site in _sites(outlook) if site.standing is Standing.LEAVING]
    if not leaving:
        return None
    where, why = ", ".join(site.device.place for site in leaving), dict.fromkeys(site.why for site in leaving)
    return fails(
        "InsufficientGPU",
        f"should leave {where} ({'; '.join(why)}) but goes on there, for lack of room elsewhere: "
        f"{outlook.placing.stuck}",
    )


def _waiting(target: Target, outlook: Outlook) -> Finding:
    site = outlook.inventory.by_uuid[target.device.uuid]
    if site.standing is not Standing.OPEN:
        return not_yet("GPUAway", f"a new worker cannot start on {target.place} for now: {site.why}")
    clients = counted(target.footprint.clients, "client")
    needs = f"{target.memory_bytes / GIB:.3g} GiB and {clients} of {target.place}"
    if any(pod.device_uuid == target.device.uuid for pod in _ending(outlook)):
        staying = _serve(len(outlook.partitions.staying))
        return fails(
            "MakingRoom",
            f"no GPU has room for a new worker beside the old one, which needs {needs}: the old one finishes "
            f"its queue and goes, then the new one starts; {staying} until then",
        )
    message = f"a new worker needs {needs} beside what runs there; it starts when they are free"
    return not_yet("WaitingForMemory", message)


def _ending(outlook: Outlook) -> Iterator[Pod]:
    """Old workers that make room, now or since an earlier plan."""
    yield from (pod for pod in outlook.partitions.pods if pod.metadata.deleting)
    if outlook.partitions.broken:
        yield outlook.partitions.broken


def _ready(outlook: Outlook) -> Finding:
    partitions = outlook.partitions
    ready = len(partitions.ready)  # without their agent they answer, too
    if outlook.apply_error:
        return fails("ApplyFailed", outlook.apply_error)
    if outlook.scaling.is_asleep:
        return holds("Asleep", asleep(outlook.model))
    if partitions.hung:
        return fails("WorkerHung", _hung_in_words(partitions, ready))
    problem = _first_problem(outlook)
    if problem:
        still = f"; until it starts, {_serve(ready)}" if ready else ""
        return fails(problem.reason, problem.message + still)
    wanted = max(len(partitions.wanted), 1)
    if ready >= wanted:
        return holds("Serving", _serve(ready))
    if not partitions.wanted and not partitions.pods:
        return blocked("NotPlaced", "no worker runs before the model is placed")
    return not_yet("Starting", f"{ready} of {_serve(wanted)}")


def _hung_in_words(partitions: Partitions, ready: int) -> str:
    names = ", ".join(sorted(partitions.hung))
    return f"{names} has a batch that does not end, and is made anew; {_serve(ready)} until then"


def _serve(workers: int) -> str:
    if workers == 0:
        return "no worker serves"
    return "1 worker serves" if workers == 1 else f"{workers} workers serve"


def _first_problem(outlook: Outlook) -> Problem | None:
    wanted = {target.name for target in outlook.partitions.wanted}
    problems = (
        pod.problem
        for pod in outlook.partitions.pods
        if not pod.metadata.deleting and (not wanted or pod.metadata.name in wanted)
    )
    return next((problem for problem in problems if problem), None)


def _slo_met(outlook: Outlook) -> Finding:
    requests, within = count_requests(outlook.measured)
    if not requests:
        return unknown("NoTraffic", "no request came of late")
    slo = outlook.model.spec.slo
    window = max(partition.window_seconds for partition in outlook.measured)
    attained = 100 * within / requests
    message = (
        f"{attained:.1f} % of {requests} requests in the last {window} s were answered within "
        f"{slo.latency_milliseconds} ms; {slo.percentile} % asked"
    )
    failed = sum(partition.failed for partition in outlook.measured)
    if failed:
        message += f"; {failed} were refused or failed"
    if misses_too_many(requests - within, requests, slo.percentile):
        return fails("SLOMissed", message)
    return holds("SLOMet", message if attained >= slo.percentile else f"{message}; that may be chance")


def count_requests(measured: Iterable[PartitionStatus]) -> tuple[int, int]:
    """(all requests, those answered within the SLO) of a model's partitions together."""
    requests = within = 0
    for partition in measured:
        requests += partition.requests
        within += partition.within_slo
    return requests, within


def in_one_line(findings: Mapping[str, Finding]) -> str:
    """The message of the first condition that does not hold; of Ready when none is against it."""
    failing = [finding for finding in findings.values() if finding.status is ConditionStatus.FALSE]
    return (failing[0] if failing else findings[READY]).message
