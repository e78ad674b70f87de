"""The serving worker's side of the grant protocol."""

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from kneescale.core.errors import ProtocolError
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
from kneescale_worker.batches import Batch, BatchRun, BatchRunner
from kneescale_worker.errors import ContextLostError, TooLateError
from kneescale_worker.link import BACKOFF, AgentLink, MessageReader, connect
from kneescale_worker.metrics import Metrics
from kneescale_worker.queue import ItemQueue, Slice

_log = logging.getLogger(__name__)


class GrantClient:
    """Announces items to the agent, runs what the agent grants and gives up what it refuses.

    Messages are read on the lanes' threads, in the order in which they came: what they say of the queue is
    done there, all else on the event loop.

    A connection counts once its first Terms came: only then are the waiting items announced, and until
    then, as without a connection, `alone` is set.
    """

    def __init__(self, socket: Path, queue: ItemQueue, runner: BatchRunner, metrics: Metrics) -> None:
        self._socket = socket
        self._hello = Hello(Role.SERVE, time.monotonic_ns())
        self._queue = queue
        self._runner = runner
        self._loop = asyncio.get_running_loop()
        self._metrics = metrics
        self._link: AgentLink | None = None
        #: The batches that were granted and have not ended, by their connection and grant.
        self._granted: dict[tuple[AgentLink, int], Batch] = {}
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
        failures = 0
        while True:
            link = await connect(self._socket, self._hello, self._on_message)
            self._listen(link)
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
            failures = 1 if served else failures + 1
            await asyncio.sleep(BACKOFF.wait_s(failures))

    def arrived(self, count: int, arrived_ns: int) -> None:
        """`count` items joined the queue."""
        if self._link is not None:
            self._link.send(Arrived(count, arrived_ns))

    def report(self, measured: Measured) -> None:
        """Send the figures of the last window."""
        if self._link is not None:
            self._link.send(measured)

    def _listen(self, link: AgentLink) -> None:
        self._runner.listen(partial(self._next_batch, link, link.detach_reader()))

    def _next_batch(self, link: AgentLink, reader: MessageReader) -> Batch | None:
        """Wait for the next grant, on a lane's thread; None when the connection is gone."""
        try:
            while not link.closed.is_set():
                # What a message says of the queue is done within its turn, so before the next message's.
                with reader:
                    match reader.read():
                        case None:
                            break
                        case Grant() as grant:
                            first = self._granted.get((link, grant.follows))
                            batch = self._take(link, grant, first)
                            if first is None or not self._runner.run_behind(first, batch):
                                return batch
                        case Refuse(count):
                            self._loop.call_soon_threadsafe(self._refuse, self._queue.take(count))
                        case message:
                            self._loop.call_soon_threadsafe(self._on_message, link, message)
        except ProtocolError as error:
            _log.error("closing the connection to the agent: %s", error)
        self._loop.call_soon_threadsafe(link.close)
        return None

    def _take(self, link: AgentLink, grant: Grant, first: Batch | None) -> Batch:
        """What a grant says to run, once `first` has ended where that is a batch."""
        now_ns = time.monotonic_ns()
        # Taken at once: the next message speaks of the items behind these.
        batch = Batch(
            grant.gpu_percent,
            self._queue.take(grant.batch),
            grant.finish_by_ns,
            on_end=partial(self._ended, link, grant),
            granted_ns=now_ns,
            planned_ns=_planned_ns(grant, first, now_ns),
        )
        self._granted[link, grant.grant_id] = batch
        return batch

    def _ended(self, link: AgentLink, grant: Grant, run: BatchRun) -> None:
        # One that failed is told as one that took no time: it says nothing of how long a batch takes.
        started_ns = run.ended_ns if run.outputs is None else run.started_ns
        link.send_from_any_thread(Done(grant.grant_id, started_ns, run.ended_ns))
        del self._granted[link, grant.grant_id]

    def _refuse(self, slices: Sequence[Slice]) -> None:
        # The agent refuses by terms that it gave before.
        assert self.terms is not None
        for part in slices:
            part.request.fail(_too_late(self.terms))

    def _on_message(self, link: AgentLink, message: Message) -> None:
        match message:
            case Terms():
                self.terms = message
                self._metrics.set_slo(message.slo_ns)
                if self._link is None and not link.closed.is_set():
                    self._joined(link)
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
        # Only now: until it grants, the lanes are the worker's own.
        for _ in range(self._runner.lanes):
            self._listen(link)
        for count, arrived_ns in self._queue.waiting():
            link.send(Arrived(count, arrived_ns))

    def _lost(self) -> None:
        self._link = None
        self.alone.set()
        self._metrics.agent_connected.set(0)


def _planned_ns(grant: Grant, first: Batch | None, now_ns: int) -> int | None:
    """How long a grant's batch is planned to take; None where it was to follow one that has ended."""
    if grant.follows and first is None:
        return None
    return max(0, grant.finish_by_ns - (now_ns if first is None else first.finish_by_ns))


def _too_late(terms: Terms) -> TooLateError:
    return TooLateError(
        f"refused: it cannot be answered within the SLO of {terms.slo_ns // NS_PER_MS} ms any more; "
        "send fewer requests, or this one later"
    )
