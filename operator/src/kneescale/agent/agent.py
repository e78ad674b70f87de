"""The agent as a whole: its parts, wired, started and stopped."""

import logging
from collections.abc import Callable
from functools import partial
from threading import Event, Thread

from kneescale.agent.backend import Backend
from kneescale.agent.claims import ClaimFolders
from kneescale.agent.cluster_api import ClusterApi
from kneescale.agent.context_losses import LossWatch
from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.agent.dra import ClaimPreparer, dra_handler
from kneescale.agent.gone_claims import GoneClaims
from kneescale.agent.grpc_server import start_server
from kneescale.agent.health import health_handler
from kneescale.agent.hosts import DeviceHosts
from kneescale.agent.http_server import Pages, make_server
from kneescale.agent.metrics import make_registry
from kneescale.agent.node_condition import NodeReporter
from kneescale.agent.node_state import NodeState
from kneescale.agent.registration import registration_handler
from kneescale.agent.resource_slice import SlicePublisher
from kneescale.agent.schedule_watch import ScheduleWatch
from kneescale.agent.settings import Settings
from kneescale.agent.status import StatusReporter

log = logging.getLogger(__name__)

_GRACE_S = 3.0
#: How long after a device came or went its host is started or stopped, at most.
_GLANCE_S = 1.0
#: How long after the devices are known, or what keeps them from being so, the agent goes on, at most.
_FIRST_GLANCE_S = 0.05


class Agent:
    """One node's agent. A part that fails ends the whole: the kubelet starts it again from its checkpoint."""

    def __init__(self, settings: Settings, backend: Backend, api: ClusterApi) -> None:
        self._settings = settings
        folders = ClaimFolders(settings.claims_dir, settings.worker_uid)
        self._backend = backend
        self._hosts = DeviceHosts(
            lambda device: DispatcherHost(device, folders.socket_path, settings.worker_uid), self._start
        )
        self._state = NodeState(self._hosts, settings.checkpoint_path, backend.devices)
        self._preparer = ClaimPreparer(settings, backend, api, self._state)
        self._gone_claims = GoneClaims(api, settings.node_name, self._state, self._preparer)
        self._slices = SlicePublisher(api, settings.node_name, backend)
        self._node = NodeReporter(api, settings.node_name, backend)
        self._losses = LossWatch(api, settings.node_name, backend, self._hosts)
        self._watch = ScheduleWatch(api, settings.node_name, self._state.set_schedules)
        self._status = StatusReporter(api, self._state, self._hosts)
        pages = Pages(
            node_name=settings.node_name,
            backend=backend,
            hosts=self._hosts,
            registry=make_registry(backend, self._state, self._hosts),
            problems=self._problems,
        )
        self._http = make_server(settings.http_port, pages)
        self._ending = Event()
        self._failed = False

    @property
    def http_port(self) -> int:
        """The port that is listened on."""
        return int(self._http.server_address[1])

    def run(self) -> bool:
        """Serve until `stop`; whether no part failed. One that is stuck is left behind, with its threads.

        Raises InvalidInputError when the checkpoint cannot be read.
        """
        try:
            return self._run()
        finally:
            # Also where this thread breaks: streams that wait for the end would keep the process.
            self._ending.set()

    def _run(self) -> bool:
        self._state.restore()
        self._preparer.tidy()
        backend = self._start("backend", partial(self._backend.run, self._ending))
        self._wait_for_devices()
        self._follow_devices()
        self._start_loops()
        dra = start_server(
            self._settings.dra_socket,
            dra_handler(self._preparer, self._settings.node_name),
            health_handler(self._settings.node_name, self._backend, self._hosts, self._ending),
        )
        registration = start_server(
            self._settings.registration_socket, registration_handler(self._settings.dra_socket)
        )
        log.info("agent of node %s is up", self._settings.node_name)
        if not self._glance_until_end():
            # Without the farewells below, which would wait for what is stuck: workers go on alone anyway.
            return False
        # Unregister first, so that the kubelet does not call a driver that has ended.
        registration.stop(_GRACE_S).wait()
        self._settings.registration_socket.unlink(missing_ok=True)
        dra.stop(_GRACE_S).wait()
        self._hosts.stop()
        self._http.shutdown()
        self._http.server_close()
        # It writes below the state folder, as the next agent does, and comes round each second unless the
        # driver hangs. Others may wait minutes for the API server, and are not waited for.
        backend.join(_GRACE_S)
        return not self._failed

    def stop(self) -> None:
        """Make `run` return; not for a signal handler: it takes a lock."""
        self._ending.set()

    def _wait_for_devices(self) -> None:
        """Not for ever: a driver that hangs is a trouble in the end."""
        while not self._backend.knows_devices and not self._backend.troubles():
            if self._ending.wait(_FIRST_GLANCE_S):
                return

    def _start_loops(self) -> None:
        self._start("http", self._http.serve_forever)
        for name, loop in (
            ("claims", self._gone_claims.run),
            ("slices", self._slices.run),
            ("node", self._node.run),
            ("losses", self._losses.run),
            ("schedules", self._watch.run),
            ("status", self._status.run),
        ):
            self._start(name, partial(loop, self._ending))

    def _glance_until_end(self) -> bool:
        """Follow the devices until `stop`; False as soon as a dispatcher is stuck."""
        problems: list[str] = []
        while not self._ending.wait(_GLANCE_S):
            self._follow_devices()
            before, problems = problems, self._problems()
            # Seen so twice: after the whole process stood still, its threads look stuck and go on.
            if stuck := [problem for problem in problems if problem in before]:
                log.error("%s; the agent ends", "; ".join(stuck))
                self._ending.set()
                return False
        return True

    def _follow_devices(self) -> None:
        """Start and stop hosts as devices come and go; one that comes, or comes back, finds its claims."""
        before = set(self._hosts)
        self._hosts.follow(self._backend.devices())
        now = set(self._hosts)
        if now != before:
            log.info("the devices of this node are %s", ", ".join(self._hosts) or "none")
            self._preparer.make_again(now - before)
            self._state.devices_changed()

    def _problems(self) -> list[str]:
        return [
            f"the dispatcher of {name} is stuck" for name, host in self._hosts.items() if not host.is_turning
        ]

    def _start(self, name: str, serve: Callable[[], None]) -> Thread:
        thread = Thread(target=self._guard, args=(name, serve), name=name, daemon=True)
        thread.start()
        return thread

    def _guard(self, name: str, serve: Callable[[], None]) -> None:
        try:
            serve()
        except Exception:
            log.exception("%s failed; the agent ends", name)
            self._failed = True
            self._ending.set()
