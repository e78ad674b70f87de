"""`serve`: one model behind REST and gRPC, batches as granted, until SIGTERM."""

import asyncio
import logging
import signal
import time

from kneescale.core.units import NS_PER_S
from kneescale_worker.accounts import RequestAccounts
from kneescale_worker.batches import BatchRunner
from kneescale_worker.dataplane import DataPlane, State
from kneescale_worker.executor import Executor
from kneescale_worker.grants import GrantClient
from kneescale_worker.grpc_service import GrpcServer
from kneescale_worker.metrics import Metrics
from kneescale_worker.pacing import SelfPacer
from kneescale_worker.queue import ItemQueue
from kneescale_worker.rest import RestServer
from kneescale_worker.settings import Settings

_log = logging.getLogger(__name__)
_REPORT_EVERY_S = 1.0
#: A drain listens on until no request came for so long: then the endpoints have moved...
_QUIET_NS = 2 * NS_PER_S
#: ...but no longer than this: a pod gets 30 s to end.
_LONGEST_LISTENING_NS = 20 * NS_PER_S
#: What still waits after that has so long to be answered.
_LONGEST_FINISH_S = 7.0


class Server:
    """The parts of a serving worker, put together."""

    def __init__(self, settings: Settings, executor: Executor) -> None:
        self._settings = settings
        self.metrics = Metrics(settings.model_name, settings.backend, settings.device)
        self.accounts = RequestAccounts(self.metrics)
        self.queue = ItemQueue(settings.queue_limit)
        self.metrics.queued_items.set_function(lambda: len(self.queue))
        self.runner = BatchRunner(executor, settings.lanes, self.queue, self.metrics)
        self.client = GrantClient(settings.socket, self.queue, self.runner, self.metrics)
        self.pacer = SelfPacer(self.client, self.queue, self.runner, settings.lanes[0])
        self.plane = DataPlane(
            settings.model_name,
            executor.metadata,
            self.queue,
            self.client.arrived,
            emulated=executor.emulated,
        )
        self.rest = RestServer(self.plane, self.accounts, self.metrics)
        self.grpc = GrpcServer(self.plane, self.accounts)

    async def start(self) -> None:
        """Listen, load the model, and be ready.

        Raises LoadError.
        """
        await self.rest.start(self._settings.http_port, self._settings.metrics_port)
        await self.grpc.start(self._settings.grpc_port)
        await self.runner.load()
        self.plane.state = State.SERVING
        _log.info("serving %s", self._settings.model_name)

    async def report(self) -> None:
        """Tell the agent each second what the requests saw, for ever."""
        while True:
            await asyncio.sleep(_REPORT_EVERY_S)
            self.metrics.count_batches()
            if self.client.terms is not None:
                self.client.report(self.accounts.measure(self.client.terms.slo_ns))

    async def drain(self) -> None:
        """Answer until clients have gone elsewhere, then finish the queue."""
        _log.info("draining")
        self.plane.state = State.DRAINING
        began_ns = time.monotonic_ns()
        while (wait_ns := self._listen_on_ns(began_ns, time.monotonic_ns())) > 0:
            await asyncio.sleep(wait_ns / NS_PER_S)
        try:
            await asyncio.wait_for(self.accounts.idle.wait(), _LONGEST_FINISH_S)
        except TimeoutError:
            _log.error("%d items are not answered in time", len(self.queue))

    async def stop(self) -> None:
        """Refuse what is left and close."""
        await asyncio.gather(self.rest.stop(), self.grpc.stop(), self.runner.close())

    def _listen_on_ns(self, began_ns: int, now_ns: int) -> int:
        quiet_at_ns = max(began_ns, self.accounts.last_arrival_ns) + _QUIET_NS
        return min(quiet_at_ns, began_ns + _LONGEST_LISTENING_NS) - now_ns


async def serve(settings: Settings, executor: Executor) -> bool:
    """Serve until SIGTERM or SIGINT, then drain; False where it came first, and a thread may still load.

    Raises LoadError, and HungError when a batch never ends.
    """
    server = Server(settings, executor)
    terminated = asyncio.create_task(_termination().wait())
    jobs = (server.client.run, server.pacer.run, server.report, server.runner.watch)
    background = [asyncio.create_task(job()) for job in jobs]
    starting = asyncio.create_task(server.start())
    tasks: list[asyncio.Task[object]] = [terminated, starting, *background]
    try:
        await _first_of(starting, terminated)
        if starting.done():
            await _first_of(terminated, *background)
            # A batch can hang meanwhile as at any time.
            tasks.append(draining := asyncio.create_task(server.drain()))
            await _first_of(draining, *background)
        return starting.done()
    finally:
        for task in tasks:
            task.cancel()
        await server.stop()


def _termination() -> asyncio.Event:
    event = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, event.set)
    return event


async def _first_of(*tasks: asyncio.Task[object]) -> None:
    """Wait until one of the tasks ends; raises what it raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
