"""The device under trial: its dispatcher, a worker for each model, and their clients."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.request import urlopen

from harness.node import running_host, running_worker
from harness.wait import wait_until
from kneescale.agent.assignment import AssignedPartition, Assignment
from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.api.gpu_schedule import Policy
from kneescale.core import wire, worker_variables
from kneescale.core.dispatching.dispatcher import PartitionTerms
from kneescale.core.surfaces.surface import LatencySurface, Point
from kneescale.core.units import NS_PER_S, US_PER_MS, WHOLE_GPU_PERCENT
from kneescale.core.wire import Role
from kneescale.core.worker_message import FITTED, POINTS
from tools.gpu_trial.subjects import Subject

LANES = tuple(range(10, WHOLE_GPU_PERCENT + 1, 10))
_PROFILE_DEADLINE_S, _START_DEADLINE_S = 180.0, 120.0
#: All clients are told to begin, which takes less.
_LEAD_NS = NS_PER_S // 10
#: Characters of a log that are worth a look.
_LOG_TAIL = 2000


class NotMeasuredError(Exception):
    """A model has no profile, and so there is nothing to try."""


@dataclass(frozen=True, slots=True)
class Platform:
    """What workers run on, as variables of their environment, and how much they measure."""

    env: Mapping[str, str]
    max_batch: int
    profile_seconds: int


@dataclass(frozen=True, slots=True)
class Share:
    """A model's part of the device under one system."""

    terms: PartitionTerms
    #: By what it goes on where no dispatcher grants anything.
    alone: wire.Terms


@dataclass(frozen=True, slots=True)
class Answers:
    """What the clients of one model saw: latencies in ms, None where a request was refused."""

    latencies_ms: Sequence[float | None]

    def attainment(self, slo_ms: float) -> float:
        """The share of all requests that was answered within the SLO."""
        within = sum(latency is not None and latency <= slo_ms for latency in self.latencies_ms)
        return within / len(self.latencies_ms)


class Rig:
    """One device; the models' sockets and logs are in a folder."""

    def __init__(self, platform: Platform, folder: Path) -> None:
        self._platform = platform
        self._folder = folder
        self._ports: dict[str, int] = {}

    def profiles(self, subjects: Sequence[Subject]) -> dict[str, LatencySurface]:
        """Measure all surfaces, one model after the other, as profiling pods do on one GPU.

        Raises NotMeasuredError where a worker fails, or takes too long.
        """
        with running_host(self._folder) as (host, _):
            host.assign(_assignment(Policy.SPATIO_TEMPORAL, {s.name: _to_measure() for s in subjects}))
            return {subject.name: self._measured(subject) for subject in subjects}

    @contextmanager
    def workers(self, lanes: Mapping[Subject, Sequence[int]]) -> Iterator[None]:
        """Workers of the models with those lanes, warmed up; they serve once a dispatcher gave them terms."""
        with ExitStack() as stack:
            for subject, of_one in lanes.items():
                env = self._env(subject, of_one)
                stack.enter_context(running_worker("serve", env, self._log(subject.name)))
            for subject in lanes:
                is_ready = partial(_is_ready, self._ports[subject.name])
                wait_until(is_ready, f"{subject.name} is ready", timeout_s=_START_DEADLINE_S)
            yield

    @contextmanager
    def shared(self, policy: Policy, shares: Mapping[str, Share]) -> Iterator[DispatcherHost]:
        """A dispatcher that shares the device among the running workers, once all are connected."""
        with running_host(self._folder) as (host, _):
            host.assign(_assignment(policy, shares))
            wait_until(
                lambda: sum(view.connected for view in host.views()) == len(shares),
                "all workers are connected",
                timeout_s=_START_DEADLINE_S,
            )
            yield host

    def ask(self, rates_rps: Mapping[str, float], seconds: float, seed: int) -> dict[str, Answers]:
        """Send requests to all models at once, and wait for the last answers."""
        clients = {
            name: self._client(name, str(rate_rps), str(seconds), str(seed + number))
            for number, (name, rate_rps) in enumerate(rates_rps.items())
        }
        for client in clients.values():
            assert client.stdout is not None
            client.stdout.readline()
        begin_ns = time.monotonic_ns() + _LEAD_NS
        # All are told before the first is waited for.
        for client in clients.values():
            assert client.stdin is not None
            client.stdin.write(f"{begin_ns}\n")
            client.stdin.flush()
        return {name: Answers(json.loads(client.communicate()[0])) for name, client in clients.items()}

    def _measured(self, subject: Subject) -> LatencySurface:
        log = self._log(subject.name)
        with running_worker("profile", self._env(subject, LANES), log) as worker:
            try:
                failed = worker.wait(_PROFILE_DEADLINE_S) != 0
            except subprocess.TimeoutExpired:
                failed = True
        if failed:
            raise NotMeasuredError(f"{subject.name} could not be measured: {log.read_text()[-_LOG_TAIL:]}")
        return self._surface(subject.name)

    def _client(self, name: str, *arguments: str) -> "subprocess.Popen[str]":
        program = (sys.executable, "-m", "tools.gpu_trial.client")
        address = f"127.0.0.1:{self._ports[name] + 1}"
        return subprocess.Popen(
            [*program, name, address, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _env(self, subject: Subject, lanes: Sequence[int]) -> dict[str, str]:
        port = self._ports.setdefault(subject.name, _three_free_ports())
        return {
            **dict(subject.env),
            **self._platform.env,
            worker_variables.MODEL_NAME: subject.name,
            worker_variables.MAX_BATCH: str(self._platform.max_batch),
            worker_variables.LANES: ",".join(map(str, lanes)),
            worker_variables.SOCKET: str(self._folder / f"{subject.name}.sock"),
            worker_variables.PROFILE_SECONDS: str(self._platform.profile_seconds),
            worker_variables.TERMINATION_PATH: str(self._message(subject.name)),
            worker_variables.HTTP_PORT: str(port),
            worker_variables.GRPC_PORT: str(port + 1),
            worker_variables.METRICS_PORT: str(port + 2),
        }

    def _surface(self, name: str) -> LatencySurface:
        message = json.loads(self._message(name).read_text())
        triples = [*message[POINTS], *message.get(FITTED, ())]
        return LatencySurface.from_points(Point(lane, batch, us / US_PER_MS) for lane, batch, us in triples)

    def _message(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"


def _is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/v2/health/ready"):
            return True
    except OSError:
        return False


def _assignment(policy: Policy, shares: Mapping[str, Share]) -> Assignment:
    return Assignment(
        policy,
        tuple(
            AssignedPartition(name, "trial", name, share.terms, share.alone, claim_uid=name)
            for name, share in shares.items()
        ),
    )


def _to_measure() -> Share:
    terms = PartitionTerms(Role.PROFILE, NS_PER_S, 1, WHOLE_GPU_PERCENT, 1, LANES, surface=None)
    return Share(terms, wire.Terms(NS_PER_S, 1, WHOLE_GPU_PERCENT, 1))


def _three_free_ports() -> int:
    """The first of three in a row."""
    while True:
        with ExitStack() as stack:
            first = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            try:
                for port in (first + 1, first + 2):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return int(first)
