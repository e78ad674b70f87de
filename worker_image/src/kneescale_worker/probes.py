"""Probes: batches that the agent lets run alone on the device, so that their time is the model's own."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kneescale.core.wire import Done, Grant, Hello, Message, Probe, Role
from kneescale_worker.errors import AgentError
from kneescale_worker.link import FIRST_BACKOFF_S, AgentLink, connect

#: The agent may have to find a gap between other models' batches, but not for so long.
_LONGEST_WAIT_S = 60.0


class ProbeClient:
    """Asks the agent for probes, one at a time, over as many connections as it takes."""

    def __init__(self, socket: Path, max_batch: int) -> None:
        self._socket = socket
        self._hello = Hello(Role.PROFILE, max_batch, time.monotonic_ns())
        self._link: AgentLink | None = None
        self._grants: asyncio.Queue[tuple[AgentLink, Grant]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lane")

    async def probe(self, gpu_percent: int, batch: int, run: Callable[[], object]) -> int:
        """Run `run` when the agent grants it; its time in ns.

        Raises AgentError when no grant comes.
        """
        try:
            link, grant = await asyncio.wait_for(self._granted(gpu_percent, batch), _LONGEST_WAIT_S)
        except TimeoutError as error:
            raise AgentError(f"the agent granted no probe within {_LONGEST_WAIT_S:.0f} s") from error
        started_ns, ended_ns = await asyncio.get_running_loop().run_in_executor(self._thread, _timed, run)
        link.send(Done(grant.grant_id, started_ns, ended_ns))
        return ended_ns - started_ns

    async def _granted(self, gpu_percent: int, batch: int) -> tuple[AgentLink, Grant]:
        while True:
            if self._link is None or self._link.closed.is_set():
                self._link = await connect(self._socket, self._hello, self._on_message)
            self._link.send(Probe(gpu_percent, batch))
            granted = asyncio.create_task(self._grants.get())
            closed = asyncio.create_task(self._link.closed.wait())
            try:
                await asyncio.wait({granted, closed}, return_when=asyncio.FIRST_COMPLETED)
                if granted.done():
                    return granted.result()
                await asyncio.sleep(FIRST_BACKOFF_S)
            finally:
                granted.cancel()
                closed.cancel()

    def _on_message(self, link: AgentLink, message: Message) -> None:
        if isinstance(message, Grant):
            self._grants.put_nowait((link, message))


def _timed(run: Callable[[], object]) -> tuple[int, int]:
    started_ns = time.monotonic_ns()
    run()
    return started_ns, time.monotonic_ns()
