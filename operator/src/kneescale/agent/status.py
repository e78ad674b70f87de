"""GPUSchedule.status: what is applied, what is measured, told to the API server every two seconds."""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from threading import Event

from kneescale.agent.broker import PartitionView
from kneescale.agent.cluster_api import AwayError, ClusterApi, ClusterError, NotFoundError
from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.agent.node_state import KnownSchedule, NodeState
from kneescale.agent.trace import Trace
from kneescale.api.codec import render_status
from kneescale.api.conditions import Condition, ConditionStatus, carried_over, format_time
from kneescale.api.gpu_schedule import (
    GPUScheduleSpec,
    GPUScheduleStatus,
    Partition,
    PartitionState,
    PartitionStatus,
    PartitionTraffic,
    ProfilingProgress,
)
from kneescale.api.vocabulary import Role
from kneescale.core.scaling.area_use import AreaUse
from kneescale.core.scaling.arrivals import Traffic
from kneescale.core.units import MS_PER_S, NS_PER_S, PERMILLE, US_PER_MS, ceil_div
from kneescale.core.wire import Measured, Progress

log = logging.getLogger(__name__)

_PERIOD_S = 2.0
#: Told again after this long even when nothing changed, in case somebody else wrote the status.
_REPEAT_NS = 10 * NS_PER_S
_MAX_SUMMARY = 1024
_UNTOLD = "the status of GPUSchedule %s is not told: %s"


class StatusReporter:
    """Tells the API server how each of the node's GPUSchedules goes."""

    def __init__(self, api: ClusterApi, state: NodeState, hosts: Mapping[str, DispatcherHost]) -> None:
        self._api = api
        self._state = state
        self._hosts = hosts
        self._areas: dict[DispatcherHost, AreaMeter] = {}
        self._sent: dict[str, tuple[GPUScheduleStatus, int]] = {}

    def run(self, stop: Event) -> None:
        """Report until `stop`."""
        while not stop.wait(_PERIOD_S):
            self.report(time.monotonic_ns(), datetime.now(UTC))

    def report(self, now_ns: int, now: datetime) -> None:
        """Tell the status of each."""
        self._state.save_again()
        hosts = dict(self._hosts.items())
        self._areas = {host: self._areas.get(host) or AreaMeter(host.trace) for host in hosts.values()}
        used = {device: self._areas[host].used_permille(now_ns) for device, host in hosts.items()}
        for schedule in self._state.schedules():
            try:
                self._tell(schedule, used, now_ns, now)
            except NotFoundError:
                continue  # deleted meanwhile; the watch will say so
            except AwayError as error:
                log.warning(_UNTOLD, schedule.name, error)
                return  # the others would only wait for it too
            except ClusterError as error:
                log.warning(_UNTOLD, schedule.name, error)

    def _tell(self, schedule: KnownSchedule, used: Mapping[str, int], now_ns: int, now: datetime) -> None:
        """Tell one status, if it changed or was not told for a while. Raises ClusterError."""
        last, sent_ns = self._sent.get(schedule.name, (None, 0))
        status = self._status(schedule, last.conditions if last else schedule.conditions, used, now)
        if status == last and now_ns - sent_ns < _REPEAT_NS:
            return
        written = replace(status, measured_at=format_time(now))
        self._api.patch_gpu_schedule_status(schedule.name, render_status(written))
        self._sent[schedule.name] = (status, now_ns)

    def _status(
        self,
        schedule: KnownSchedule,
        before: Iterable[Condition],
        used: Mapping[str, int],
        now: datetime,
    ) -> GPUScheduleStatus:
        applied = carried_over(_applied_condition(schedule, self._state.unsaved, now), before)
        spec = schedule.applied
        if spec is None:
            return GPUScheduleStatus(observed_generation=schedule.generation, conditions=(applied,))
        host = self._hosts.get(spec.device)
        views = {view.name: view for view in host.views()} if host else {}
        in_time = carried_over(_time_condition(schedule, views.values(), now), before)
        return GPUScheduleStatus(
            observed_generation=schedule.generation,
            conditions=(applied, in_time),
            summary=_summary(spec),
            area_planned_permille=sum(partition.area_permille for partition in spec.partitions),
            area_used_permille=used.get(spec.device, 0),
            partitions=tuple(_partition_status(p.name, views.get(p.name)) for p in spec.partitions),
        )


class AreaMeter:
    """The use of a device, by the trace of its grants."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._use = AreaUse()

    def used_permille(self, now_ns: int) -> int:
        """The share of its GPU area that was granted of late; 0 the first time."""
        self._use.add(now_ns, self._trace.area_ns(now_ns))
        return self._use.permille


def _applied_condition(schedule: KnownSchedule, unsaved: str, now: datetime) -> Condition:
    reason, message = "Applied", "the node's dispatcher follows this schedule"
    if schedule.error:
        reason, message = "Invalid", schedule.error
    elif unsaved:
        reason = "AppliedNotSaved"
        message += f", but cannot save it for its next start: {unsaved}; free space on the node's disk"
    return Condition(
        type="Applied",
        status=ConditionStatus.FALSE if schedule.error else ConditionStatus.TRUE,
        last_transition_time=format_time(now),
        reason=reason,
        message=message,
        observed_generation=schedule.generation,
    )


def _time_condition(schedule: KnownSchedule, views: Iterable[PartitionView], now: datetime) -> Condition:
    views = tuple(views)
    hung = [view.name for view in views if view.hung]
    late = [view.name for view in views if view.timing.is_unpunctual and not view.hung]
    troubles = []
    if hung:
        names = ", ".join(hung)
        troubles.append(
            f"a batch of {names} never ended, and the worker is granted no more until it is a new one"
        )
    if late:
        troubles.append(f"batches of {', '.join(late)} take much longer than planned again and again")
    return Condition(
        type="WorkersKeepTime",
        status=ConditionStatus.FALSE if troubles else ConditionStatus.TRUE,
        last_transition_time=format_time(now),
        reason="Hung" if hung else "Overruns" if late else "InTime",
        message="; ".join(troubles) or "batches end by the time that they were granted for",
        observed_generation=schedule.generation,
    )


def _summary(spec: GPUScheduleSpec) -> str:
    return ", ".join(map(_summary_of, spec.partitions))[:_MAX_SUMMARY]


def _summary_of(partition: Partition) -> str:
    if partition.role is Role.PROFILE:
        return f"{partition.model} profiling"
    return f"{partition.model} {partition.gpu_percent}%x{partition.batch}"


def _partition_status(name: str, view: PartitionView | None) -> PartitionStatus:
    """How a partition goes; without a view the dispatcher has not got to it yet."""
    if view is None:
        return PartitionStatus(name=name, state=PartitionState.WAITING)
    timing, traffic = view.timing, view.traffic
    ratio = timing.latency_ratio
    status = PartitionStatus(
        name=name,
        state=_state(view),
        overruns=timing.overruns,
        latency_ratio_permille=None if ratio is None else round(PERMILLE * ratio),
        profiling=None if view.progress is None else _profiling(view.progress),
        traffic=_traffic(traffic) if traffic else None,
    )
    return status if view.measured is None else _with_measured(status, view.measured)


def _profiling(progress: Progress) -> ProfilingProgress:
    """The error rounded up: no profile is told to be surer than it is."""
    return ProfilingProgress(progress.measured, progress.runs, ceil_div(progress.error_permille, 10))


def _traffic(traffic: Traffic) -> PartitionTraffic:
    return PartitionTraffic(
        recent_items_per_second=f"{traffic.recent_ips:.1f}",
        steady_items_per_second=f"{traffic.steady_ips:.2f}",
        steady_seconds=f"{traffic.steady_s:.1f}",
        trend_items_per_second=f"{traffic.trend_ips2:.3f}",
        dispersion_permille=round(PERMILLE * traffic.dispersion),
        slow_dispersion_permille=round(PERMILLE * traffic.slow_dispersion),
        long_items_per_second=f"{traffic.long_ips:.2f}",
        long_seconds=f"{traffic.long_s:.1f}",
    )


def _with_measured(status: PartitionStatus, measured: Measured) -> PartitionStatus:
    return replace(
        status,
        requests_per_second=_rate(measured),
        requests=measured.requests,
        answered=measured.answered,
        within_slo=measured.within_slo,
        failed=measured.failed,
        p50_milliseconds=_whole_ms(measured.p50_us) if measured.answered else None,
        p99_milliseconds=_whole_ms(measured.p99_us) if measured.answered else None,
        window_seconds=round(measured.window_ms / MS_PER_S),
    )


def _state(view: PartitionView) -> PartitionState:
    if view.hung:
        return PartitionState.HUNG
    if not view.seen:
        return PartitionState.WAITING
    return PartitionState.SERVING if view.connected else PartitionState.GONE


def _rate(measured: Measured) -> str:
    return f"{MS_PER_S * measured.requests / max(1, measured.window_ms):.1f}"


def _whole_ms(us: int) -> int:
    """Rounded up: no latency is reported shorter than it was."""
    return ceil_div(us, US_PER_MS)
