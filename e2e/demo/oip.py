"""The client's side of the Open Inference Protocol, by a library that knows nothing of Kneescale."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
import tritonclient.grpc as grpc  # type: ignore[import-untyped]
import tritonclient.grpc.aio as grpc_aio  # type: ignore[import-untyped]
import tritonclient.http as rest  # type: ignore[import-untyped]
import tritonclient.http.aio as rest_aio  # type: ignore[import-untyped]
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

from e2e.demo.samples import Array, Sample

#: Several, each with a connection of its own, since kube-proxy spreads connections, not requests.
GRPC_CHANNELS = 3
#: One request in so many goes over REST, the others over gRPC; an odd number, so that both get every sample.
REST_EVERY = 5
ANSWER_TIMEOUT_S = 30.0
#: Without it a client never learns that the node at the other end lost its power or its network.
KEEPALIVE = [("grpc.keepalive_time_ms", 3_000), ("grpc.keepalive_timeout_ms", 2_000)]

#: What a request without an answer raises.
REQUEST_ERRORS = (InferenceServerException, aiohttp.ClientError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model's Service is reached, as host:port."""

    rest: str
    grpc: str


class ModelClient:
    """A client of one model; requests are prepared once and sent over REST and gRPC in turn."""

    def __init__(self, model: str, endpoint: Endpoint, samples: Sequence[Sample]) -> None:
        self._model = model
        self._endpoint = endpoint
        self._samples = samples
        self._turn = itertools.count()

    async def __aenter__(self) -> Self:
        """Connect and prepare the requests as the model's metadata asks."""
        # Without a pool of its own a channel shares the connection of the others to the same address.
        options = [("grpc.use_local_subchannel_pool", 1), *KEEPALIVE]
        self._grpc = [
            grpc_aio.InferenceServerClient(self._endpoint.grpc, channel_args=options)
            for _ in range(GRPC_CHANNELS)
        ]
        self._rest = rest_aio.InferenceServerClient(self._endpoint.rest, conn_timeout=ANSWER_TIMEOUT_S)
        metadata = await self._grpc[0].get_model_metadata(
            self._model, as_json=True, client_timeout=ANSWER_TIMEOUT_S
        )
        (name,), (self._output,) = (
            [tensor["name"] for tensor in metadata[side]] for side in ("inputs", "outputs")
        )
        self._grpc_inputs = [_prepared(grpc.InferInput, name, sample.items) for sample in self._samples]
        self._rest_inputs = [_prepared(rest.InferInput, name, sample.items) for sample in self._samples]
        return self

    async def __aexit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        for client in (*self._grpc, self._rest):
            await client.close()

    async def ask(self) -> tuple[Sample, Array]:
        """Send the next request; return its sample and the answer. Raises one of REQUEST_ERRORS."""
        turn = next(self._turn)
        which = turn % len(self._samples)
        if turn % REST_EVERY == 0:
            result = await self._rest.infer(self._model, self._rest_inputs[which])
        else:
            client = self._grpc[turn % GRPC_CHANNELS]
            result = await client.infer(
                self._model, self._grpc_inputs[which], client_timeout=ANSWER_TIMEOUT_S
            )
        answer: Array = result.as_numpy(self._output)
        return self._samples[which], answer


def _prepared(infer_input: type[Any], name: str, items: Array) -> list[Any]:
    tensor = infer_input(name, list(items.shape), "FP32")
    tensor.set_data_from_numpy(items)
    return [tensor]
