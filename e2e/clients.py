"""What the clients of a model see while a test changes things around it."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryFile
from threading import Event

from e2e.demo.figures import Outcome
from e2e.demo.load import Stream, ask_for_outcome
from e2e.demo.oip import ModelClient
from e2e.demo.samples import echoes
from e2e.demo.services import reach
from e2e.shop import Shop
from harness.wait import wait_until

FIRST_ANSWER_S = 30.0


Send = Callable[[ModelClient, list[Outcome], Event], Awaitable[None]]


@contextmanager
def steady_load(shop: Shop, model: str, rate_rps: float, items: int = 1) -> Iterator[list[Outcome]]:
    """Send requests of so many items over REST (keep-alive) and gRPC until the block ends.

    The block begins when the first answer is there. The outcomes grow meanwhile, and all requests have one
    when it has ended.
    """
    with _load(shop, model, items, partial(_send_steadily, rate_rps)) as outcomes:
        yield outcomes


@contextmanager
def full_load(shop: Shop, model: str, at_once: int, items: int = 1) -> Iterator[list[Outcome]]:
    """The same with so many requests under way at any time: the next is sent when one has its outcome."""
    with _load(shop, model, items, partial(_send_again_and_again, at_once)) as outcomes:
        yield outcomes


@contextmanager
def _load(shop: Shop, model: str, items: int, send: Send) -> Iterator[list[Outcome]]:
    outcomes: list[Outcome] = []
    stop = Event()
    with reach(shop.kubectl, shop.name, model) as endpoint, ThreadPoolExecutor(1) as pool:
        stream = Stream(model, endpoint, echoes(model, items))
        sending = pool.submit(asyncio.run, _send(stream, send, outcomes, stop))
        try:
            answered = lambda: bool(outcomes) or sending.done()  # noqa: E731
            wait_until(answered, f"{model} answers", FIRST_ANSWER_S)
            yield outcomes
        finally:
            stop.set()
        sending.result()


async def _send(stream: Stream, send: Send, outcomes: list[Outcome], stop: Event) -> None:
    async with ModelClient(stream.model, stream.endpoint, stream.samples) as client:
        await send(client, outcomes, stop)


async def _send_steadily(rate_rps: float, client: ModelClient, outcomes: list[Outcome], stop: Event) -> None:
    loop = asyncio.get_running_loop()

    async def ask(due_s: float) -> None:
        outcomes.append(await ask_for_outcome(client, due_s))

    async with asyncio.TaskGroup() as sent:
        due_s = loop.time()
        while not stop.is_set():
            sent.create_task(ask(due_s))
            due_s += 1 / rate_rps
            await asyncio.sleep(max(0.0, due_s - loop.time()))


async def _send_again_and_again(
    at_once: int, client: ModelClient, outcomes: list[Outcome], stop: Event
) -> None:
    loop = asyncio.get_running_loop()

    async def ask_on() -> None:
        while not stop.is_set():
            outcomes.append(await ask_for_outcome(client, loop.time()))

    async with asyncio.TaskGroup() as clients:
        for _ in range(at_once):
            clients.create_task(ask_on())


#: What a client is told where a worker is not there: by gRPC, by its connection, by the kernel.
GONE = (
    "UNAVAILABLE",
    "Server disconnected",
    "Connect call failed",
    "Connection reset",
    "Connection closed",
    "Cannot connect",
    "Can not write request body",
    # Of a call that came as its server closed, before it had a handler: gRPC's own.
    "CANCELLED",
)
#: What it tells itself where nothing comes at all.
SILENT = ("Deadline Exceeded", "TimeoutError", "timed out", "Timeout")


def tells_of_an_end(error: str) -> bool:
    """Whether an error is what a client gets whose worker ended, is not there yet, or does not answer."""
    return any(known in error for known in GONE + SILENT)


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """What went wrong with each request that got no right answer."""
    return [outcome.error for outcome in outcomes if not outcome.correct]


@contextmanager
def watched_endpoints(shop: Shop, service: str) -> Iterator[list[int]]:
    """Watch the Service's endpoints; when the block has ended, the list holds how many were ready, change by
    change.
    """
    ready: list[int] = []
    kubectl = shop.kubectl
    argv = [str(kubectl.program), f"--kubeconfig={kubectl.kubeconfig}", f"--namespace={shop.name}"]
    argv += ["get", "endpointslices", f"--selector=kubernetes.io/service-name={service}", "--watch"]
    argv += [r'--output=jsonpath={.endpoints[*].conditions.ready}{"\n"}']
    with TemporaryFile("w+") as seen, subprocess.Popen(argv, stdout=seen) as watch:
        try:
            yield ready
        finally:
            watch.terminate()
            watch.wait()
            seen.seek(0)
            ready += [line.split().count("true") for line in seen]
