"""The GPU under test, its control daemon, and clients of it: the port of the checks, and the real one."""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kneescale.agent.gpu_abilities import can_be_shared
from kneescale.agent.gpu_library import GpuLibrary, Version
from kneescale.agent.nvml import NvmlLibrary
from kneescale.mps import protocol
from kneescale.mps.control import Control, ControlProgram
from kneescale.mps.daemon_process import LocalProcess, daemon_command, daemon_env
from kneescale.mps.keeper import DaemonKeeper
from kneescale.mps.partition_files import PartitionFiles
from kneescale.mps.paths import log_dir, pipe_dir
from kneescale.mps.sm_partitions import SmPartitions
from kneescale.mps.status import DaemonState, DaemonStatus
from kneescale.mps.wanted import WantedDaemon

_FIELDS = (
    "uuid",
    "name",
    "memory.total",
    "memory.reserved",
    "compute_cap",
    "mig.mode.current",
    "driver_version",
    "ecc.mode.current",
)
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_ORDER, _AS_LISTED = "CUDA_DEVICE_ORDER", "PCI_BUS_ID"
_CLIENT_DEADLINE_S = 120
_DAEMON_DEADLINE_S = 30
#: torch alone takes some seconds to import.
_CONNECT_DEADLINE_S = 60
#: Many at once share the cores for it.
_STAND_BY_DEADLINE_S = 120
_TURN_S = 0.2


class NoGpuError(RuntimeError):
    """There is nothing to check here; the message is one line."""


@dataclass(frozen=True, slots=True)
class Client:
    """A program that runs on the GPU as an MPS client: what it says on its standard output, as JSON."""

    said: Mapping[str, Any]
    status: int


@dataclass(frozen=True, slots=True)
class Partitioned:
    """What a client saw that ran in an SM partition, and whether the partition could be given back then."""

    sms: int
    is_given_back: bool


class RunningClient(Protocol):
    """A client that goes on until it is told to end."""

    @property
    def pid(self) -> int:
        """Its PID."""

    def kill(self) -> None:
        """End it where it is, by SIGKILL."""

    def result(self) -> Client:
        """Wait until it has ended."""


class Bench(Protocol):
    """What checks need."""

    @property
    def gpu(self) -> Mapping[str, str]:
        """What the driver's own tool says of the GPU."""

    @property
    def library(self) -> GpuLibrary:
        """The agent's own way to the driver, without a session."""

    @property
    def model_dir(self) -> Path | None:
        """A TorchScript model to run, if one was given."""

    @property
    def control(self) -> Control:
        """The way to the daemon, which runs."""

    def daemon(self) -> DaemonStatus:
        """How the daemon is now."""

    def start_daemon(self) -> None:
        """Wait until the daemon runs with its limits.

        Raises NoGpuError.
        """

    def kill_daemon(self) -> None:
        """End the daemon where it is, by SIGKILL."""

    def client(self, program: str, *arguments: str, percent: int = 100, **env: str) -> Client:
        """Run one of `client_programs` to its end, as a client of `percent` GPU%."""

    def clients(self, *commands: Sequence[str], percent: int = 100, **env: str) -> Sequence[Client]:
        """Run several at once, to their ends."""

    def at_once(self, count: int) -> int:
        """How many of `count` clients had a context at one and the same time, and could use it after that."""

    def start(self, program: str, *arguments: str, percent: int = 100) -> RunningClient:
        """Start one and leave it running."""

    def server_of(self, client: RunningClient) -> int:
        """The PID of a client's server, once the daemon lists the client there.

        Raises RuntimeError where it never does.
        """

    def partitioned(self, chunks: int) -> Partitioned:
        """Run a client in a partition of so many chunks of SMs, under a daemon that is started for it.

        Raises NoGpuError where no such daemon runs, DaemonAnswerError where it makes no partition.
        """


class _Process:
    """A client's process."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], stdin: int | None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.gpu_check.client_programs", *command],
            env={**os.environ, **env},
            stdin=stdin,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def kill(self) -> None:
        """See RunningClient."""
        self._process.kill()

    def says_something(self, until_s: float) -> bool:
        """Wait for its first line; not so where it ends without, or is silent until then (monotonic).

        It has to wait after that line: `result` would not see what is read along with it.
        """
        assert self._process.stdout is not None
        left_s = max(0.0, until_s - time.monotonic())
        readable, _, _ = select.select([self._process.stdout], [], [], left_s)
        return bool(readable and self._process.stdout.readline())

    def result(self) -> Client:
        """Wait for its last line; a client that hangs is not killed in the middle of a kernel, but named."""
        try:
            output, _ = self._process.communicate(timeout=_CLIENT_DEADLINE_S)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(
                f"client {self.pid} does not end; end it by terminate_client, then kill it"
            ) from error
        lines = output.strip().splitlines()
        return Client(json.loads(lines[-1]) if lines else {}, self._process.returncode)


class RealBench:
    """A GPU of this machine, under a control daemon of its own that ends with the checks."""

    def __init__(
        self, gpu: Mapping[str, str], state_dir: Path, model_dir: Path | None, *, is_static: bool = False
    ) -> None:
        self.gpu = gpu
        self.library: GpuLibrary = NvmlLibrary(None)
        self.model_dir = model_dir
        #: What makes a process a client of the daemon, which shows its one GPU as number 0, whichever of this
        #: machine that is.
        self.env = {"CUDA_MPS_PIPE_DIRECTORY": str(pipe_dir(state_dir, gpu["uuid"])), _VISIBLE: "0"}
        self.control: Control = ControlProgram(pipe_dir(state_dir, gpu["uuid"]))
        self._status: list[DaemonStatus] = []
        memory_mebibytes = int(gpu["memory.total"].split()[0])
        wanted = WantedDaemon(gpu["uuid"], memory_mebibytes, is_static)
        folders = (pipe_dir(state_dir, wanted.uuid), log_dir(state_dir, wanted.uuid))
        self._process = LocalProcess(daemon_command(wanted), daemon_env(wanted, state_dir), folders)
        partitions = SmPartitions(wanted.uuid, PartitionFiles(state_dir, wanted.uuid), self.control)
        self._keeper = DaemonKeeper(wanted, self._process, self.control, partitions, self._status.append)

    def daemon(self) -> DaemonStatus:
        """Look again; see Bench."""
        self._keeper.turn(time.monotonic_ns())
        return self._status[-1]

    def start_daemon(self) -> None:
        """See Bench."""
        deadline_s = time.monotonic() + _DAEMON_DEADLINE_S
        while self.daemon().state is not DaemonState.RUNNING:
            if time.monotonic() > deadline_s:
                raise NoGpuError(f"the MPS control daemon does not run: {self._status[-1].line}")
            time.sleep(_TURN_S)

    def kill_daemon(self) -> None:
        """See Bench."""
        self._process.kill()
        self._process.wait(_DAEMON_DEADLINE_S)

    def client(self, program: str, *arguments: str, percent: int = 100, **env: str) -> Client:
        """See Bench."""
        (client,) = self.clients((program, *arguments), percent=percent, **env)
        return client

    def clients(self, *commands: Sequence[str], percent: int = 100, **env: str) -> Sequence[Client]:
        """See Bench."""
        running = [self._started(command, percent, env) for command in commands]
        return [process.result() for process in running]

    def at_once(self, count: int) -> int:
        """Have them wait for each other; see Bench."""
        until_s = time.monotonic() + _STAND_BY_DEADLINE_S
        with _gate() as gate:
            asked = [self._started(("stand_by",), 100, {}, stdin=gate) for _ in range(count)]
            standing_by = [client for client in asked if client.says_something(until_s)]
        ended = {client.pid: client.result() for client in asked}
        return sum(ended[client.pid] == Client({"error": ""}, 0) for client in standing_by)

    def start(self, program: str, *arguments: str, percent: int = 100) -> RunningClient:
        """See Bench."""
        return self._started((program, *arguments), percent, {})

    def server_of(self, client: RunningClient) -> int:
        """See Bench."""
        deadline_s = time.monotonic() + _CONNECT_DEADLINE_S
        while time.monotonic() < deadline_s:
            for server in protocol.parse_pids(self.control.ask(protocol.LIST_SERVERS)):
                if client.pid in protocol.parse_pids(self.control.ask(protocol.list_clients(server))):
                    return server
            time.sleep(_TURN_S)
        raise RuntimeError(f"the daemon does not list client {client.pid}")

    def partitioned(self, chunks: int) -> Partitioned:
        """See Bench."""
        with _running(self.gpu, None, is_static=True) as bench:
            made = protocol.parse_partition(
                bench.control.ask(protocol.add_partition(self.gpu["uuid"], chunks))
            )
            client = bench.client("sms", CUDA_MPS_SM_PARTITION=made)
            bench.control.ask(protocol.remove_partition(made))
            is_there = protocol.has_partition(bench.control.ask(protocol.LIST_PARTITIONS), made)
            return Partitioned(int(client.said["sms"]), not is_there)

    def close(self) -> None:
        """Let the daemon end."""
        self._keeper.quit()

    def _started(
        self, command: Sequence[str], percent: int, env: Mapping[str, str], stdin: int | None = None
    ) -> _Process:
        env = {**self.env, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": str(percent), **env}
        return _Process(command, env, stdin)


@contextmanager
def _gate() -> Iterator[int]:
    """A standard input for several processes, which ends for all of them after this."""
    reading_end, writing_end = os.pipe()
    try:
        yield reading_end
    finally:
        os.close(writing_end)
        os.close(reading_end)


@contextmanager
def real_bench(model_dir: Path | None) -> Iterator[RealBench]:
    """The GPU of CUDA_VISIBLE_DEVICES, or the first of this machine that MPS can share.

    Raises NoGpuError.
    """
    with _running(choose_gpu(_gpus(), os.environ), model_dir) as bench:
        yield bench


@contextmanager
def _running(
    gpu: Mapping[str, str], model_dir: Path | None, *, is_static: bool = False
) -> Iterator[RealBench]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="kng-"))
        bench = RealBench(gpu, Path(folder), model_dir, is_static=is_static)
        stack.callback(bench.close)
        bench.start_daemon()
        yield bench


def _gpus() -> list[dict[str, str]]:
    command = ["nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_DAEMON_DEADLINE_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoGpuError(f"there is no NVIDIA GPU here: {error}") from error
    if done.returncode or not done.stdout.strip():
        raise NoGpuError(f"there is no NVIDIA GPU here: {(done.stderr or done.stdout).strip()}")
    return parse_gpus(done.stdout)


def choose_gpu(gpus: Sequence[Mapping[str, str]], env: Mapping[str, str]) -> Mapping[str, str]:
    """The GPU that CUDA_VISIBLE_DEVICES names first, by the beginning of its UUID or its number, if set.

    Else the first that MPS can share.

    Raises NoGpuError where there is none, it is left alone, or its number may mean another GPU to CUDA.
    """
    if (visible := env.get(_VISIBLE)) is None:
        if shared := [gpu for gpu in gpus if not _obstacle(gpu)]:
            return shared[0]
        raise NoGpuError("; ".join(f"GPU {gpu['uuid']} {_obstacle(gpu)}" for gpu in gpus))
    first = visible.split(",")[0].strip()
    # CUDA's own order begins with the fastest, nvidia-smi's is that of the bus.
    if first.isdigit() and len(gpus) > 1 and env.get(_ORDER) != _AS_LISTED:
        raise NoGpuError(f"{_VISIBLE}={visible}: name the GPU by its UUID, or set {_ORDER}={_AS_LISTED} too")
    for number, gpu in enumerate(gpus):
        if first == str(number) or (first.startswith("GPU-") and gpu["uuid"].startswith(first)):
            if obstacle := _obstacle(gpu):
                raise NoGpuError(f"{_VISIBLE}={visible}: that GPU {obstacle}")
            return gpu
    raise NoGpuError(f"{_VISIBLE}={visible}: there is no such GPU here")


def _obstacle(gpu: Mapping[str, str]) -> str:
    """Why this project leaves a GPU alone; empty where it does not."""
    if gpu["mig.mode.current"] == "Enabled":
        return "is split by MIG, and so left alone"
    if not can_be_shared(compute_capability(gpu)):
        return f"has compute capability {gpu['compute_cap']}, and MPS cannot share it"
    return ""


def compute_capability(gpu: Mapping[str, str]) -> Version:
    """As nvidia-smi says it."""
    major, minor = gpu["compute_cap"].split(".")
    return Version(int(major), int(minor))


def parse_gpus(table: str) -> list[dict[str, str]]:
    """The GPUs in the CSV that nvidia-smi prints, one a line."""
    return [
        dict(zip(_FIELDS, (value.strip() for value in line.split(",")), strict=True))
        for line in table.strip().splitlines()
    ]
