"""Probes: batches that the agent lets run alone on the device, so that their time is the model's own."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kneescale.core.units import NS_PER_US
from kneescale.core.wire import Done, Grant, Hello, Message, Probe, Progress, Role
from kneescale_worker.errors import AgentError
from kneescale_worker.link import BACKOFF, AgentLink, connect

#: A device that has left no time for a probe for so long is too busy for it.
_PATIENCE_S = 5.0
#: An agent that is started anew is back sooner.
_LONGEST_SILENCE_S = 60.0


class ProbeClient:
    """Asks the agent for probes, one at a time, over as many connections as it takes."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._hello = Hello(Role.PROFILE, time.monotonic_ns())
        self._link: AgentLink | None = None
        self._grants: asyncio.Queue[tuple[AgentLink, Grant]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lane")

    async def probe(
        self, gpu_percent: int, batch: int, lasts_ns: int, run: Callable[[], object]
    ) -> int | None:
        """Run `run`, which lasts about so long, when the agent grants it; its time in ns.

        None where the device leaves no time for it. Raises AgentError when the agent is away for long.
        """
        probe = Probe(gpu_percent, batch, max(1, lasts_ns // NS_PER_US))
        while True:
            link = await self._connected()
            link.send(probe)
            try:
                grant = await asyncio.wait_for(self._granted(link, probe), _PATIENCE_S)
            except TimeoutError:
                return None
            if grant:
                return await self._run(link, grant, run)
            await asyncio.sleep(BACKOFF.first_s)

    def tell(self, progress: Progress) -> None:
        """Say how far the profile is, if the agent is there to hear it."""
        if self._link:
            self._link.send(progress)

    async def _connected(self) -> AgentLink:
        if self._link is None or self._link.closed.is_set():
            try:
                connecting = connect(self._socket, self._hello, self._on_message)
                self._link = await asyncio.wait_for(connecting, _LONGEST_SILENCE_S)
            except TimeoutError as error:
                raise AgentError(f"no agent within {_LONGEST_SILENCE_S:.0f} s") from error
        return self._link

    async def _granted(self, link: AgentLink, probe: Probe) -> Grant | None:
        """The grant of just that probe; None when the connection ends."""
        while True:
            granted = asyncio.create_task(self._grants.get())
            closed = asyncio.create_task(link.closed.wait())
            try:
                await asyncio.wait({granted, closed}, return_when=asyncio.FIRST_COMPLETED)
                if not granted.done():
                    return None
                by, grant = granted.result()
            except asyncio.CancelledError:
                if granted.done():
                    # It came in the moment in which it was given up: who asks next answers it.
                    self._grants.put_nowait(granted.result())
                raise
            finally:
                granted.cancel()
                closed.cancel()
            if by is link and (grant.gpu_percent, grant.batch) == (probe.gpu_percent, probe.batch):
                return grant
            # The grant of a probe that was given up crossed with this one.
            now_ns = time.monotonic_ns()
            by.send(Done(grant.grant_id, now_ns, now_ns))

    async def _run(self, link: AgentLink, grant: Grant, run: Callable[[], object]) -> int:
        started_ns, ended_ns = await asyncio.get_running_loop().run_in_executor(self._thread, _timed, run)
        link.send(Done(grant.grant_id, started_ns, ended_ns))
        return ended_ns - started_ns

    def _on_message(self, link: AgentLink, message: Message) -> None:
        if isinstance(message, Grant):
            self._grants.put_nowait((link, message))


def _timed(run: Callable[[], object]) -> tuple[int, int]:
    started_ns = time.monotonic_ns()
    run()
    return started_ns, time.monotonic_ns()
