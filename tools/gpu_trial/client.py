"""One model's clients, as a process: requests leave at Poisson times, however slowly the answers come."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import tritonclient.grpc as grpc  # type: ignore[import-untyped]
import tritonclient.grpc.aio as grpc_aio  # type: ignore[import-untyped]
from tritonclient.utils import InferenceServerException, triton_to_np_dtype  # type: ignore[import-untyped]

from kneescale.core.units import NS_PER_MS, NS_PER_S
from kneescale.sim.arrivals import poisson

_LONGEST_WAIT_S = 10.0


async def ask(model: str, address: str, due_ns: Callable[[], Sequence[int]]) -> list[float | None]:
    """Latencies in ms, from when each request was due (monotonic clock); None for one that was refused.

    `due_ns` is asked once all is prepared.
    """
    async with grpc_aio.InferenceServerClient(address) as client:
        try:
            inputs = await _inputs(client, model)
        except InferenceServerException:
            return [None for _ in due_ns()]

        async def one(at_ns: int) -> float | None:
            try:
                await client.infer(model, inputs, client_timeout=_LONGEST_WAIT_S)
            except InferenceServerException:
                return None
            return (time.monotonic_ns() - at_ns) / NS_PER_MS

        tasks = []
        for at_ns in due_ns():
            await asyncio.sleep(max(0, at_ns - time.monotonic_ns()) / NS_PER_S)
            tasks.append(asyncio.create_task(one(at_ns)))
        return await asyncio.gather(*tasks)


async def _inputs(client: grpc_aio.InferenceServerClient, model: str) -> list[grpc.InferInput]:
    metadata = await client.get_model_metadata(model, as_json=True)
    inputs = []
    for tensor in metadata["inputs"]:
        shape = [1, *(int(size) for size in tensor["shape"][1:])]
        infer_input = grpc.InferInput(tensor["name"], shape, tensor["datatype"])
        infer_input.set_data_from_numpy(np.ones(shape, triton_to_np_dtype(tensor["datatype"])))
        inputs.append(infer_input)
    return inputs


def main() -> None:
    """Say when ready, read the time to begin at (monotonic clock, ns), ask, print the latencies as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("address", help="host:port of its gRPC side")
    parser.add_argument("rate_rps", type=float)
    parser.add_argument("seconds", type=float)
    parser.add_argument("seed", type=int)
    arguments = parser.parse_args()
    times_ns = poisson(arguments.rate_rps, arguments.seconds, np.random.default_rng(arguments.seed))

    def due_ns() -> list[int]:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        due: list[int] = (int(sys.stdin.readline()) + times_ns).tolist()
        return due

    json.dump(asyncio.run(ask(arguments.model, arguments.address, due_ns)), sys.stdout)


if __name__ == "__main__":
    main()
