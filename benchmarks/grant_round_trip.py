"""What a grant's way to a worker and back costs, beside the batch itself.

Starts an emulated worker and grants it batch after batch over the real socket, from the fake agent. The cost
of one is the time from sending the Grant to receiving its Done, less the time that the batch ran.

    .venv/bin/python benchmarks/grant_round_trip.py [--grants N]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import tritonclient.grpc as grpc  # type: ignore[import-untyped]

from kneescale.core.units import NS_PER_S, NS_PER_US
from kneescale.core.wire import Arrived, Done, Hello, Terms
from kneescale.testing.fake_agent import FakeAgent

_MODEL, _PRODUCT = "alexnet", "V100-SXM2-16GB"
_PORTS = {"HTTP": 28000, "GRPC": 28001, "METRICS": 28002}
_TERMS = Terms(slo_ns=NS_PER_S, batch=1, gpu_percent=100, share_permille=1000)


def main() -> None:
    """Print the median and the 99th percentile of empty grants and of batches of one item."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--grants", type=int, default=1000)
    grants = parser.parse_args().grants
    with tempfile.TemporaryDirectory(prefix="kns-") as folder:
        socket = Path(folder) / "dispatcher.sock"
        with FakeAgent(socket, _TERMS) as agent, _worker(socket) as worker:
            try:
                agent.wait_for(Hello)
                _print("no item waits", _costs_us(agent, grants))
                request = threading.Thread(target=_infer, args=(grants,))
                request.start()
                agent.wait_for(Arrived)
                _print("batch of one item", _costs_us(agent, grants))
                request.join()
            finally:
                worker.terminate()


def _worker(socket: Path) -> subprocess.Popen[bytes]:
    settings = {
        "MODEL_NAME": _MODEL,
        "MODEL_URI": f"catalog://{_MODEL}",
        "MODEL_FORMAT": "Emulated",
        "MAX_BATCH": "1",
        "BACKEND": "emulated",
        "PRODUCT": _PRODUCT,
        "LANES": "100",
        "SOCKET": str(socket),
        "TERMINATION_PATH": os.devnull,
        **{f"{name}_PORT": str(port) for name, port in _PORTS.items()},
    }
    env = {f"KNEESCALE_{name}": value for name, value in settings.items()}
    return subprocess.Popen([sys.executable, "-m", "kneescale_worker", "serve"], env={**os.environ, **env})


def _infer(items: int) -> None:
    """One request, whose items are then granted one by one."""
    tensor = grpc.InferInput("input", [items, 4], "FP32")
    tensor.set_data_from_numpy(np.zeros((items, 4), np.float32))
    with closing(grpc.InferenceServerClient(f"127.0.0.1:{_PORTS['GRPC']}")) as client:
        client.infer(_MODEL, [tensor])


def _costs_us(agent: FakeAgent, grants: int) -> list[float]:
    already = len(agent.received(Done))
    sent_ns: dict[int, int] = {}
    for count in range(grants):
        now_ns = time.monotonic_ns()
        sent_ns[agent.grant(batch=1, gpu_percent=100).grant_id] = now_ns
        agent.wait_for(Done, already + count + 1)
    return [
        (entry.at_ns - sent_ns[done.grant_id] - (done.ended_ns - done.started_ns)) / NS_PER_US
        for entry in agent.log
        if isinstance(done := entry.message, Done) and done.grant_id in sent_ns
    ]


def _print(what: str, costs_us: list[float]) -> None:
    p99_us = statistics.quantiles(costs_us, n=100)[-1]
    median_us = statistics.median(costs_us)
    sys.stdout.write(f"{what:18}: median {median_us:.0f} us, p99 {p99_us:.0f} us, {len(costs_us)} grants\n")


if __name__ == "__main__":
    main()
