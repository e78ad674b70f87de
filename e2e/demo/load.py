"""An open-loop load: requests leave at Poisson times, however slowly the answers come."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e2e.demo.figures import Outcome
from e2e.demo.oip import REQUEST_ERRORS, REST_EVERY, Endpoint, ModelClient
from e2e.demo.samples import Sample
from kneescale.core.units import MS_PER_S

LEAD_S = 0.5


@dataclass(frozen=True, slots=True)
class Stream:
    """The requests to one model."""

    model: str
    endpoint: Endpoint
    samples: Sequence[Sample]


async def try_each_sample(stream: Stream) -> None:
    """Ask for every sample over REST and gRPC. Raises RuntimeError if one gets no right answer."""
    async with ModelClient(stream.model, stream.endpoint, stream.samples) as client:
        for _ in range(REST_EVERY * len(stream.samples)):
            outcome = await ask_for_outcome(client, asyncio.get_running_loop().time())
            if not outcome.correct:
                raise RuntimeError(f"{stream.model}: {outcome.error}")


async def apply_load(
    streams: Sequence[Stream], times_s: Mapping[str, NDArray[np.float64]]
) -> Mapping[str, Sequence[Outcome]]:
    """Send all streams at once, each at its times (by model, ascending); return the outcomes by model.

    Latency counts from the time at which a request was due, so a late sender hides nothing.
    """
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(ModelClient(s.model, s.endpoint, s.samples)) for s in streams
        ]
        begin_s = loop.time() + LEAD_S
        sent = [
            _send(client, (begin_s + times_s[stream.model]).tolist())
            for stream, client in zip(streams, clients, strict=True)
        ]
        outcomes = await asyncio.gather(*sent)
    return {stream.model: list(of_one) for stream, of_one in zip(streams, outcomes, strict=True)}


async def _send(client: ModelClient, due_s: Sequence[float]) -> Sequence[Outcome]:
    loop = asyncio.get_running_loop()
    requests = []
    for time_s in due_s:
        await asyncio.sleep(max(0.0, time_s - loop.time()))
        requests.append(asyncio.create_task(ask_for_outcome(client, time_s)))
    return await asyncio.gather(*requests)


async def ask_for_outcome(client: ModelClient, due_s: float) -> Outcome:
    """Send the client's next request, which was due at `due_s` of the loop's clock; return its outcome."""
    try:
        sample, answer = await client.ask()
    except REQUEST_ERRORS as error:
        return Outcome(due_s, latency_ms=None, correct=False, error=str(error) or type(error).__name__)
    latency_ms = (asyncio.get_running_loop().time() - due_s) * MS_PER_S
    if sample.is_right(answer):
        return Outcome(due_s, latency_ms, correct=True)
    return Outcome(due_s, latency_ms, correct=False, error=f"a wrong answer to {sample.name}")
