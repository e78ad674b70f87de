"""The metrics pages of all three parts, with every metric on them."""

from pathlib import Path
from threading import Thread

from prometheus_client import generate_latest

from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.agent.emulated import EmulatedBackend
from kneescale.agent.metrics import make_registry
from kneescale.agent.node_state import NodeState
from kneescale.agent.trace import Tenant
from kneescale.controller.metrics import Metrics as OperatorMetrics
from kneescale.controller.metrics import Result
from kneescale.core.units import NS_PER_MS
from kneescale.core.wire import Grant
from kneescale.plan import plan
from kneescale.plan.state import EventNote, ObjectRef
from kneescale_worker.metrics import BatchFigures, Drop, Outcome
from kneescale_worker.metrics import Metrics as WorkerMetrics
from tests.agent.builders import assignment_of
from tests.plan.cluster import emulated_world, model
from tests.plan.cluster_life import settle
from tests.waiting import wait_until


def operator_page() -> str:
    """The operator's, after it brought a model into service."""
    world, metrics = emulated_world(), OperatorMetrics()
    world.create(model("resnet50"))
    settle(world)
    observed = world.observe()
    metrics.planned(observed, plan(observed, world.settings), took_s=0.01)
    metrics.reconciled(Result.APPLIED)
    metrics.wrote("apply", "Pod", done=True)
    metrics.announced(EventNote(ObjectRef("", "", "", ""), "Normal", "Placed", "Plan", "on node1/gpu0"))
    return generate_latest(metrics.registry).decode()


def agent_page(folder: Path) -> str:
    """The agent's, of a node with a GPU on which a partition was granted and refused something."""
    host = DispatcherHost("gpu0", lambda uid: folder / uid, 0)
    host.assign(assignment_of("a"))
    tenant = Tenant("a", "shop", "lite0")
    host.trace.granted(tenant, Grant(1, 40, 8, NS_PER_MS), 0)
    host.trace.ended(1, 0, NS_PER_MS, NS_PER_MS)
    host.trace.refused(tenant, 1)
    hosts = {"gpu0": host}
    backend = EmulatedBackend("node1", 1, "V100-SXM2-16GB", folder)
    registry = make_registry(backend, NodeState(hosts, folder / "checkpoint.json", backend.devices), hosts)
    thread = Thread(target=host.run)
    thread.start()
    try:
        wait_until(lambda: bool(host.views()), "the partition is there")
        return generate_latest(registry).decode()
    finally:
        host.stop()
        thread.join()


def worker_page() -> str:
    """The worker's, after a request of each kind."""
    metrics = WorkerMetrics("resnet50", "emulated", "gpu0")
    metrics.set_slo(50 * NS_PER_MS)
    metrics.answered(20 * NS_PER_MS)
    metrics.dropped(Outcome.REFUSED, Drop.TOO_LATE)
    metrics.invalid()
    metrics.batch(BatchFigures(4, 10 * NS_PER_MS, 9 * NS_PER_MS, NS_PER_MS))
    metrics.lane_sms(40, 32)
    return metrics.render().decode()
