"""The serving worker's side of the grant protocol."""

import asyncio
import logging
import time
from functools import partial
from pathlib import Path

from kneescale.core.units import NS_PER_MS
from kneescale.core.wire import (
    Arrived,
    Done,
    Grant,
    Hello,
    Measured,
    Message,
    Refuse,
    Restart,
    Role,
    Terms,
)
from kneescale_worker.batches import BatchRun, BatchRunner
from kneescale_worker.errors import ContextLostError, TooLateError
from kneescale_worker.link import FIRST_BACKOFF_S, LONGEST_BACKOFF_S, AgentLink, connect
from kneescale_worker.metrics import Metrics
from kneescale_worker.queue import ItemQueue

_log = logging.getLogger(__name__)


class GrantClient:
    """Announces items to the agent, runs what the agent grants and gives up what it refuses.

    A connection counts once its first Terms came: only then are the waiting items announced, and until
    then, as without a connection, `alone` is set.
    """

    def __init__(
        self, socket: Path, max_batch: int, queue: ItemQueue, runner: BatchRunner, metrics: Metrics
    ) -> None:
        self._socket = socket
        self._hello = Hello(Role.SERVE, max_batch, time.monotonic_ns())
        self._queue = queue
        self._runner = runner
        self._metrics = metrics
        self._link: AgentLink | None = None
        self._is_to_restart = False
        #: The last terms of any connection.
        self.terms: Terms | None = None
        #: Set while no agent grants batches.
        self.alone = asyncio.Event()
        self.alone.set()

    async def run(self) -> None:
        """Keep a connection to the agent, for ever.

        Raises ContextLostError when the agent says so.
        """
        backoff_s = FIRST_BACKOFF_S
        while True:
            link = await connect(self._socket, self._hello, self._on_message)
            try:
                await link.closed.wait()
            finally:
                link.close()
                served = self._link is link
                if not self._is_to_restart:
                    self._lost()
            if self._is_to_restart:
                raise ContextLostError("a fault on the GPU took this worker's context; it is started anew")
            _log.warning("the agent closed the connection; going on alone")
            backoff_s = FIRST_BACKOFF_S if served else min(2 * backoff_s, LONGEST_BACKOFF_S)
            await asyncio.sleep(backoff_s)

    def arrived(self, count: int, arrived_ns: int) -> None:
        """`count` items joined the queue."""
        if self._link is not None:
            self._link.send(Arrived(count, arrived_ns))

    def report(self, measured: Measured) -> None:
        """Send the figures of the last window."""
        if self._link is not None:
            self._link.send(measured)

    def _on_message(self, link: AgentLink, message: Message) -> None:
        match message:
            case Terms():
                self.terms = message
                self._metrics.set_slo(message.slo_ns)
                if self._link is None:
                    self._joined(link)
            case Grant(batch=batch):
                # Taken at once: the next message speaks of the items behind these.
                slices = self._queue.take(batch)
                on_end = partial(_send_done, link, message)
                self._runner.run(message.gpu_percent, slices, message.finish_by_ns, on_end)
                if slices:
                    self._metrics.granted(time.monotonic_ns() - slices[0].request.arrived_ns)
            case Refuse(count) if self.terms is not None:
                self._queue.fail(count, _too_late(self.terms))
            case Restart():
                self._is_to_restart = True
                link.close()
            case _:
                _log.error("closing the connection: the agent sent a %s", type(message).__name__)
                link.close()

    def _joined(self, link: AgentLink) -> None:
        self._link = link
        self.alone.clear()
        self._metrics.agent_connected.set(1)
        for count, arrived_ns in self._queue.waiting():
            link.send(Arrived(count, arrived_ns))

    def _lost(self) -> None:
        self._link = None
        self.alone.set()
        self._metrics.agent_connected.set(0)


def _send_done(link: AgentLink, grant: Grant, run: BatchRun) -> None:
    link.send_from_any_thread(Done(grant.grant_id, run.started_ns, run.ended_ns))


def _too_late(terms: Terms) -> TooLateError:
    return TooLateError(
        f"refused: it cannot be answered within the SLO of {terms.slo_ns // NS_PER_MS} ms any more; "
        "send fewer requests, or this one later"
    )
