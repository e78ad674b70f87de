"""What Prometheus reads: worked out when it asks, so that grants pay nothing for it."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kneescale.agent.backend import Backend
from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.agent.node_state import NodeState
from kneescale.core.units import NS_PER_S, WHOLE_GPU_PERCENT

_PARTITION_LABELS = ("device", "partition", "model")


def make_registry(
    backend: Backend, state: NodeState, hosts: Mapping[str, DispatcherHost]
) -> CollectorRegistry:
    """A registry with all of the agent's metrics; each names the backend, so nothing emulated looks real."""
    registry = CollectorRegistry()
    registry.register(_AgentCollector(backend, state, hosts))
    return registry


class _AgentCollector(Collector):
    def __init__(self, backend: Backend, state: NodeState, hosts: Mapping[str, DispatcherHost]) -> None:
        self._devices = backend.devices
        self._losses = backend.context_losses
        self._backend = backend.name
        self._state = state
        self._hosts = hosts

    def collect(self) -> Iterable[Metric]:
        """All metrics as they are now."""
        yield from self._health_metrics()
        yield from self._device_metrics()
        yield from self._grant_metrics()
        yield from self._partition_metrics()
        claims = GaugeMetricFamily(
            "kneescale_prepared_claims", "Claims prepared on this node", labels=["backend"]
        )
        claims.add_metric([self._backend], len(self._state.claims()))
        yield claims
        unsaved = GaugeMetricFamily(
            "kneescale_schedules_unsaved",
            "Whether the GPUSchedules that are applied could not be saved for the next start",
            labels=["backend"],
        )
        unsaved.add_metric([self._backend], bool(self._state.unsaved))
        yield unsaved

    def _health_metrics(self) -> Iterable[Metric]:
        healthy = GaugeMetricFamily(
            "kneescale_device_healthy",
            "1 where partitions may run, 0 on a sick device; a withdrawn one is not there",
            labels=["backend", "device"],
        )
        for device in self._devices():
            healthy.add_metric([self._backend, device.name], not device.sickness)
        losses = CounterMetricFamily(
            "kneescale_device_context_losses",
            "Times that all workers of a device lost their GPU contexts, as its MPS daemon's program counts",
            labels=["backend", "device"],
        )
        for name, known in self._losses().items():
            losses.add_metric([self._backend, name], known.count)
        yield from (healthy, losses)

    def _device_metrics(self) -> Iterable[Metric]:
        labels = ["backend", "device"]
        granted = GaugeMetricFamily("kneescale_granted_gpu_percent", "GPU% held by grants now", labels=labels)
        over = CounterMetricFamily(
            "kneescale_overcommitted", "Instants at which granted GPU% passed 100", labels=labels
        )
        for name, host in self._hosts.items():
            granted.add_metric([self._backend, name], host.trace.running_percent)
            over.add_metric([self._backend, name], host.trace.overcommitted)
        yield from (granted, over)

    def _grant_metrics(self) -> Iterable[Metric]:
        labels = ["backend", *_PARTITION_LABELS]
        grants = CounterMetricFamily("kneescale_grants", "Grants that ended", labels=labels)
        items = CounterMetricFamily("kneescale_granted_items", "Items in grants that ended", labels=labels)
        area = CounterMetricFamily(
            "kneescale_granted_gpu_seconds", "GPU area granted, in seconds of a whole GPU", labels=labels
        )
        refused = CounterMetricFamily(
            "kneescale_refused_items", "Items refused because they could not be in time", labels=labels
        )
        for device, host in self._hosts.items():
            for partition, totals in host.trace.totals().items():
                values = [self._backend, device, partition, totals.model]
                grants.add_metric(values, totals.grants)
                items.add_metric(values, totals.items)
                area.add_metric(values, totals.area_ns / (WHOLE_GPU_PERCENT * NS_PER_S))
                refused.add_metric(values, totals.refused_items)
        yield from (grants, items, area, refused)

    def _partition_metrics(self) -> Iterable[Metric]:
        labels = ["backend", *_PARTITION_LABELS]
        queued = GaugeMetricFamily("kneescale_queued_items", "Items waiting for a grant", labels=labels)
        connected = GaugeMetricFamily(
            "kneescale_worker_connected", "Whether the partition's worker is connected", labels=labels
        )
        hung = GaugeMetricFamily(
            "kneescale_worker_hung", "Whether a batch of the partition's worker never ended", labels=labels
        )
        overruns = CounterMetricFamily(
            "kneescale_overruns", "Batches that took much longer than their grant", labels=labels
        )
        ratio = GaugeMetricFamily(
            "kneescale_latency_ratio", "Measured over predicted batch time, the median", labels=labels
        )
        for device, host in self._hosts.items():
            for view in host.views():
                values = [self._backend, device, view.name, view.model]
                queued.add_metric(values, view.queued_items)
                connected.add_metric(values, view.connected)
                hung.add_metric(values, view.hung)
                overruns.add_metric(values, view.timing.overruns)
                if view.timing.latency_ratio is not None:
                    ratio.add_metric(values, view.timing.latency_ratio)
        yield from (queued, connected, hung, overruns, ratio)
