"""Workers that lost their GPU contexts together, as after an MPS server's fault, are restarted together.

The server takes no new client until all of the old ones have left (NVIDIA MPS, "Client-Server Connection" and
"Limitations"), so none may be spared.
"""

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from threading import Event
from typing import Protocol

from kneescale.agent.backend import Backend, ContextLosses
from kneescale.agent.cluster_api import ClusterApi, ClusterError
from kneescale.agent.node_condition import node_event

log = logging.getLogger(__name__)

_PERIOD_S = 1.0


class Workers(Protocol):
    """The connected workers of one device."""

    def restart_workers(self, born_before_ns: int) -> None:
        """Have those end, to be started anew, that were born before then; also such as connect later."""


class LossWatch:
    """Restarts workers that are older than their device's last loss, and posts an Event of each new one."""

    def __init__(
        self, api: ClusterApi, node_name: str, backend: Backend, hosts: Mapping[str, Workers]
    ) -> None:
        self._api = api
        self._node_name = node_name
        self._backend = backend
        self._hosts = hosts
        self._known: dict[str, int] = {
            name: losses.count for name, losses in backend.context_losses().items()
        }

    def run(self, stop: Event) -> None:
        """Look every second until `stop`."""
        while not stop.wait(_PERIOD_S):
            self.look(datetime.now(UTC))

    def look(self, now: datetime) -> None:
        """Restart who is older than the last loss, or than a rise of their count since the last look."""
        new = {}
        for name, losses in self._backend.context_losses().items():
            is_new = losses.count > self._known.setdefault(name, losses.count)
            if (host := self._hosts.get(name)) is None:
                continue  # told once it is there
            if losses.last_ns is not None:
                # Each time: a loss may have been while there was no agent, and a host may be a new one.
                host.restart_workers(losses.last_ns)
            elif is_new:
                host.restart_workers(time.monotonic_ns())
            if is_new:
                new[name] = losses
            self._known[name] = losses.count
        # An API server that is away keeps nobody from being restarted.
        for name, losses in new.items():
            self._tell(name, losses, now)

    def _tell(self, device: str, losses: ContextLosses, now: datetime) -> None:
        log.warning(
            "device %s lost all contexts, its workers are restarted: %s",
            device,
            losses.reason,
            extra={"device": device},
        )
        note = f"all workers of device {device} lost their GPU contexts and are restarted: {losses.reason}"
        try:
            node = self._api.get_node(self._node_name)
            self._api.create_event(node_event(node, "Warning", "ContextsLost", "RestartWorkers", note, now))
        except ClusterError as error:
            log.warning("no Event tells of it: %s", error)
