"""A worker as a process of its own, as its pod runs it.

Never in the test's process: tritonclient and the worker both define the protobuf package `inference`.
"""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from harness.ports import free_ports
from kneescale.core.wire import Terms
from tests.waiting import wait_until

DEADLINE_S = 60.0
MODEL = "alexnet"
#: Terms of most tests: batches of 4 on the lane of 40 GPU%; alone, as fast as it can.
TERMS = Terms(slo_ns=100_000_000, batch=4, gpu_percent=40, share_permille=1000)


def hanging_in(method: str) -> Sequence[str]:
    """The program of a worker whose executor never comes back from this."""
    return (str(Path(__file__).with_name("hanging_worker.py")), method)


class Worker:
    """`python -m kneescale_worker` on free ports, with an emulated model unless `env` says otherwise."""

    def __init__(
        self,
        folder: Path,
        command: str = "serve",
        env: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "kneescale_worker"),
    ) -> None:
        self._ports = free_ports(3)
        self.socket = folder / f"{self._ports[0]}.sock"
        self._termination = folder / f"termination-{self._ports[0]}"
        self._log = (folder / f"log-{self._ports[0]}").open("w")
        self._process = subprocess.Popen(
            [sys.executable, *program, command],
            env={**os.environ, **self._settings(), **(env or {})},
            stdout=self._log,
            stderr=self._log,
        )

    def _settings(self) -> dict[str, str]:
        http, grpc, metrics = self._ports
        return {
            "KNEESCALE_MODEL_NAME": MODEL,
            "KNEESCALE_MODEL_URI": f"catalog://{MODEL}",
            "KNEESCALE_MODEL_FORMAT": "Emulated",
            "KNEESCALE_MAX_BATCH": "8",
            "KNEESCALE_BACKEND": "emulated",
            "KNEESCALE_DEVICE": "gpu0",
            "KNEESCALE_PRODUCT": "V100-SXM2-16GB",
            "KNEESCALE_LANES": "10,20,40,100",
            "KNEESCALE_SOCKET": str(self.socket),
            "KNEESCALE_TERMINATION_PATH": str(self._termination),
            "KNEESCALE_HTTP_PORT": str(http),
            "KNEESCALE_GRPC_PORT": str(grpc),
            "KNEESCALE_METRICS_PORT": str(metrics),
        }

    @property
    def http_port(self) -> int:
        return self._ports[0]

    @property
    def grpc_port(self) -> int:
        return self._ports[1]

    @property
    def http(self) -> str:
        """Address of the REST side, as tritonclient wants it."""
        return f"127.0.0.1:{self.http_port}"

    @property
    def grpc(self) -> str:
        """Address of the gRPC side."""
        return f"127.0.0.1:{self.grpc_port}"

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a GET on the REST port; status 0 when nobody listens."""
        return _fetch(urllib.request.Request(f"http://{self.http}{path}"))

    def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Status and body of a POST on the REST port."""
        return _fetch(
            urllib.request.Request(f"http://{self.http}{path}", data=body, headers=dict(headers or {}))
        )

    def metrics(self) -> dict[str, float]:
        """Every sample of the metrics page, by name and those labels that set it apart from others here."""
        return {_without_own_labels(sample): sample.value for sample in self.samples()}

    def samples(self) -> list[Sample]:
        """Every sample of the metrics page."""
        _, page = _fetch(urllib.request.Request(f"http://127.0.0.1:{self._ports[2]}/metrics"))
        return [sample for family in text_string_to_metric_families(page) for sample in family.samples]

    def wait_ready(self, timeout_s: float = DEADLINE_S) -> None:
        """Wait until it serves; raises with its log when it ended instead."""

        def ready() -> bool:
            if self._process.poll() is not None:
                raise RuntimeError(f"the worker ended: {self.log()}")
            return self.get("/v2/health/ready")[0] == 200

        wait_until(ready, "the worker is ready", timeout_s=timeout_s)

    def wait_connected(self) -> None:
        """Wait until it runs what an agent grants."""
        wait_until(lambda: self.metrics()["kneescale_worker_agent_connected"] == 1, "it is connected")

    def children(self) -> list[int]:
        """PIDs of the processes that it started."""
        return [child.pid for child in psutil.Process(self._process.pid).children()]

    def log(self) -> str:
        """What it wrote so far."""
        return Path(self._log.name).read_text()

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float = DEADLINE_S + 30) -> int:
        """Wait until it ended; its exit code."""
        return self._process.wait(timeout_s)

    def message(self) -> dict[str, Any]:
        """Its termination message."""
        message: dict[str, Any] = json.loads(self._termination.read_text())
        return message

    def kill(self) -> None:
        """End it whatever it does."""
        self._process.kill()
        self._process.wait()
        self._log.close()


def _without_own_labels(sample: Sample) -> str:
    own = ("backend", "device", "model")
    pairs = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()) if name not in own)
    return f"{sample.name}{{{pairs}}}" if pairs else sample.name


def _fetch(request: urllib.request.Request) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""
