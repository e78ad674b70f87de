"""What Prometheus reads: worked out when it asks, so that grants pay nothing for it."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from kneescale.agent.backend import Backend
from kneescale.agent.broker import PartitionView
from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.agent.node_condition import CONDITION, readiness
from kneescale.agent.node_state import NodeState
from kneescale.agent.trace import Totals
from kneescale.core.units import NS_PER_S, WHOLE_GPU_PERCENT
from kneescale.telemetry.declared import counter, gauge
from kneescale.telemetry.families import Families

_NODE = ("backend",)
_DEVICE = ("backend", "device")
_PARTITION = ("backend", "device", "partition", "namespace", "model")

CLAIMS = gauge("kneescale_prepared_claims", "Claims prepared on this node", *_NODE)
UNSAVED = gauge(
    "kneescale_schedules_unsaved",
    "Whether the GPUSchedules that are applied could not be saved for the next start",
    *_NODE,
)
READY = gauge(
    "kneescale_node_ready",
    f"1 while at least one device of the node can be used, as its condition {CONDITION} says",
    *_NODE,
)
TROUBLES = gauge(
    "kneescale_node_troubles",
    f"What is not among the node's devices though it could be, or ails it, as {CONDITION} says",
    *_NODE,
    "reason",
)
HEALTHY = gauge(
    "kneescale_device_healthy",
    "1 where partitions may run, 0 on a sick device; a withdrawn one is not there",
    *_DEVICE,
)
LOSSES = counter(
    "kneescale_device_context_losses_total",
    "Times that all workers of a device lost their GPU contexts, as its MPS daemon's program counts",
    *_DEVICE,
)
HELD = gauge("kneescale_device_granted_ratio", "Part of a GPU that grants hold now, 1 is all of it", *_DEVICE)
IDLE = counter(
    "kneescale_device_idle_gpu_seconds_total",
    "GPU area that no grant held since the agent took the device, in seconds of a whole GPU",
    *_DEVICE,
)
OVERCOMMITTED = counter(
    "kneescale_overcommitted_total", "Instants at which granted GPU% passed 100", *_DEVICE
)
GRANTS = counter("kneescale_grants_total", "Grants that ended", *_PARTITION)
ITEMS = counter("kneescale_granted_items_total", "Items in grants that ended", *_PARTITION)
GRANTED = counter(
    "kneescale_granted_gpu_seconds_total",
    "GPU area held by grants that ended, from grant to report, in seconds of a whole GPU",
    *_PARTITION,
)
USED = counter(
    "kneescale_used_gpu_seconds_total",
    "GPU area of grants that ended while their batches ran, in seconds of a whole GPU",
    *_PARTITION,
)
REFUSED = counter(
    "kneescale_refused_items_total", "Items refused because they could not be in time", *_PARTITION
)
QUEUED = gauge("kneescale_queued_items", "Items waiting for a grant", *_PARTITION)
CONNECTED = gauge("kneescale_worker_connected", "Whether the partition's worker is connected", *_PARTITION)
HUNG = gauge("kneescale_worker_hung", "Whether a batch of the partition's worker never ended", *_PARTITION)
OVERRUNS = counter("kneescale_overruns_total", "Batches that took much longer than their grant", *_PARTITION)
LATENCY_RATIO = gauge(
    "kneescale_latency_ratio",
    "Batch time measured over the one that the surface predicts, the median of late; not there until known",
    *_PARTITION,
)

METRICS = (
    *(CLAIMS, UNSAVED, READY, TROUBLES, HEALTHY, LOSSES, HELD, IDLE, OVERCOMMITTED),
    *(GRANTS, ITEMS, GRANTED, USED, REFUSED),
    *(QUEUED, CONNECTED, HUNG, OVERRUNS, LATENCY_RATIO),
)


def make_registry(
    backend: Backend, state: NodeState, hosts: Mapping[str, DispatcherHost]
) -> CollectorRegistry:
    """A registry with all of the agent's metrics; each names the backend, so nothing emulated looks real."""
    registry = CollectorRegistry()
    registry.register(_AgentCollector(backend, state, hosts))
    return registry


class _AgentCollector(Collector):
    def __init__(self, backend: Backend, state: NodeState, hosts: Mapping[str, DispatcherHost]) -> None:
        self._backend = backend
        self._state = state
        self._hosts = hosts

    def collect(self) -> Iterable[Metric]:
        """All metrics as they are now."""
        page = Families(METRICS, [self._backend.name])
        page.add(CLAIMS, len(self._state.claims()))
        page.add(UNSAVED, bool(self._state.unsaved))
        self._add_inventory(page)
        for name, known in self._backend.context_losses().items():
            page.add(LOSSES, known.count, name)
        for name, host in self._hosts.items():
            _add_device(page, name, host)
        return page.all()

    def _add_inventory(self, page: Families) -> None:
        devices, troubles = self._backend.devices(), self._backend.troubles()
        page.add(READY, readiness(self._backend.name, devices, troubles).ready)
        for reason, count in Counter(trouble.reason for trouble in troubles).items():
            page.add(TROUBLES, count, reason)
        for device in devices:
            page.add(HEALTHY, not device.sickness, device.name)


def _add_device(page: Families, name: str, host: DispatcherHost) -> None:
    page.add(HELD, host.trace.running_percent / WHOLE_GPU_PERCENT, name)
    page.add(IDLE, _gpu_seconds(_idle_area_ns(host, time.monotonic_ns())), name)
    page.add(OVERCOMMITTED, host.trace.overcommitted, name)
    for totals in host.trace.totals().values():
        _add_totals(page, name, totals)
    for view in host.views():
        _add_view(page, name, view)


def _add_totals(page: Families, device: str, totals: Totals) -> None:
    tenant = totals.tenant
    labels = (device, tenant.partition, tenant.namespace, tenant.model)
    page.add(GRANTS, totals.grants, *labels)
    page.add(ITEMS, totals.items, *labels)
    page.add(GRANTED, _gpu_seconds(totals.area_ns), *labels)
    page.add(USED, _gpu_seconds(totals.used_area_ns), *labels)
    page.add(REFUSED, totals.refused_items, *labels)


def _add_view(page: Families, device: str, view: PartitionView) -> None:
    labels = (device, view.name, view.namespace, view.model)
    page.add(QUEUED, view.queued_items, *labels)
    page.add(CONNECTED, view.connected, *labels)
    page.add(HUNG, view.hung, *labels)
    page.add(OVERRUNS, view.timing.overruns, *labels)
    if view.timing.latency_ratio is not None:
        page.add(LATENCY_RATIO, view.timing.latency_ratio, *labels)


def _idle_area_ns(host: DispatcherHost, now_ns: int) -> int:
    """What no grant held, nor holds: GPU% times nanoseconds."""
    return WHOLE_GPU_PERCENT * (now_ns - host.began_ns) - host.trace.area_ns(now_ns)


def _gpu_seconds(area_ns: int) -> float:
    return area_ns / (WHOLE_GPU_PERCENT * NS_PER_S)
