"""The checks on a fake GPU that behaves as documented, and with one thing off at a time."""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from kneescale.agent.gpu_abilities import client_limit
from kneescale.agent.gpu_library import Faults, Version, XidEvent
from kneescale.core.units import MIB
from kneescale.mps.daemon_process import ProgramMissingError
from kneescale.mps.status import DaemonState, DaemonStatus
from tests.agent.fake_gpu_library import FakeGpuLibrary, gpu
from tools.gpu_check import __main__ as gpu_check
from tools.gpu_check.bench import (
    Bench,
    Client,
    NoGpuError,
    Partitioned,
    RealBench,
    RunningClient,
    choose_gpu,
    parse_gpus,
)
from tools.gpu_check.check import Check, Finding, Verdict, run_all
from tools.gpu_check.checks import CHECKS

_SMS = 132
_ALONE_MS = 5.0
_SERVER = 100
_PID = 4711


_H100 = dataclasses.replace(
    gpu(
        "GPU-1",
        name="NVIDIA H100 80GB HBM3",
        core_count=_SMS * 128,
        compute_capability=Version(9, 0),
    ),
    memory_bytes=(81559 - 551) * MIB,
)


class FakeClient:
    """A client that was started."""

    def __init__(self, bench: "FakeBench") -> None:
        self.pid = _PID
        self._bench = bench
        self._losses = bench.losses

    def kill(self) -> None:
        self._bench.is_struck = self._bench.off == "client-killed"

    def result(self) -> Client:
        self._bench.running = 0
        is_lost = self._bench.losses > self._losses
        faulty = is_lost or self._bench.terminated or self._bench.is_struck
        self._bench.terminated = False
        return Client({"error": "CUDA error" if faulty else "", "median_ms": 1}, int(bool(faulty)))


class FakeBench:
    """An H100 by the documents; `off` changes one thing."""

    model_dir = None

    def __init__(self, off: str = "") -> None:
        self.off = off
        self.gpu: Mapping[str, str] = {
            "uuid": "GPU-1",
            "name": "NVIDIA H100 80GB HBM3",
            "memory.total": "81559 MiB",
            "memory.reserved": "551 MiB",
            "compute_cap": "9.0",
            "mig.mode.current": "Disabled",
            "driver_version": "615.71.05",
        }
        self.library = FakeGpuLibrary(_H100)
        if off == "readings":
            self.library.gpus.clear()
        self.control = self
        self.running = 0
        self.terminated = False
        #: Whether a client that was killed harmed the others.
        self.is_struck = False
        self.losses = 0

    def daemon(self) -> DaemonStatus:
        state = DaemonState.DOWN if self.off == "daemon" else DaemonState.RUNNING
        losses = 0 if self.off == "fault" else self.losses
        return DaemonStatus(state, "2026-11-25T00:00:00Z", losses=losses, clients=(_PID,) * self.running)

    def start_daemon(self) -> None:
        return

    def kill_daemon(self) -> None:
        self.losses += self.off != "daemon-killed"

    def ask(self, command: str) -> str:
        match command.split()[0]:
            case "get_server_list":
                return str(_SERVER)
            case "get_server_status":
                return "ACTIVE"
            case "get_client_list":
                return str(_PID)
            case "set_default_active_thread_percentage":
                return "150.0" if self.off == "ignored-value" else "100.0"
            case "sm_partition":
                return "GPU-1/Dx4A" if self.off == "static-partition" else 'Unknown command "sm_partition"'
            case "terminate_client":
                self.terminated = self.off != "terminate"
        return ""

    def client(self, program: str, *arguments: str, percent: int = 100, **env: str) -> Client:
        (client,) = self.clients((program, *arguments), percent=percent, **env)
        return client

    def clients(self, *commands: Sequence[str], percent: int = 100, **env: str) -> Sequence[Client]:
        if "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT" in env:
            is_narrow = env["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=1G" and self.off != "memory-limit"
            return [Client({"error": "CUDA out of memory." if is_narrow else ""}, 0)]
        if "CUDA_MPS_PIPE_DIRECTORY" in env:
            return [Client({"mps": self.off == "mps-client"}, 0)]
        return [self._ran(command, percent, len(commands)) for command in commands]

    def at_once(self, count: int) -> int:
        return min(count, client_limit(self.library.cuda) - (self.off == "client-limit"))

    def start(self, program: str, *arguments: str, percent: int = 100) -> FakeClient:
        self.running += 1
        return FakeClient(self)

    def server_of(self, client: RunningClient) -> int:
        if self.off == "server-state":
            raise RuntimeError("the daemon does not list it")
        return _SERVER

    def partitioned(self, chunks: int) -> Partitioned:
        return Partitioned(_SMS if self.off == "sm-partition" else 8 * chunks, is_given_back=True)

    def _ran(self, command: Sequence[str], percent: int, together: int) -> Client:
        said: dict[str, Any] = {}
        match command[0]:
            case "sms":
                said = {"sms": self._sms(percent)}
            case "mps_client":
                said = {"mps": True}
            case "green":
                rounded = int if self.off == "green" else math.ceil
                sms = {percent: rounded(_SMS * int(percent) / 100) for percent in command[1:]}
                said = {"sms": sms, "groups": 16}
            case "contexts":
                unit = 0 if self.off == "mps-contexts" else _SMS / 100
                said = {"sms": {percent: max(1, math.ceil(unit * int(percent))) for percent in command[1:]}}
            case "multiply":
                pace = 100 / percent if self.off != "pace" else 1
                crowd = together if self.off == "side-by-side" and together == 2 else 1
                crowd += self.running if self.off == "pool-side-by-side" else 0
                said = {"median_ms": _ALONE_MS * pace * crowd}
            case "many_small":
                # Seen on an H200: faster while another keeps the GPU awake.
                beside = 10 if self.off == "small-beside-large" else 0.7
                said = {"median_ms": beside if self.running else 1}
            case "multiply_green":
                said = {"median_ms": _ALONE_MS * (1 if self.off == "green-side-by-side" else together)}
            case "fault":
                self.losses += 1
                self.library.events.append(XidEvent("GPU-1", 31))
                said = {"error": "CUDA error"}
            case "fail_assertion":
                said = {"error": "CUDA error"}
        return Client(said, int(self.off == "after-fault" and self.losses > 0))

    def _sms(self, percent: int) -> int:
        if self.off == "datasheet":
            return 114 * percent // 100
        return max(1, _SMS * percent // 100 - (6 if self.off == "sms" and percent < 100 else 0))


class NoBench(AbstractContextManager[Bench]):
    """A machine without a GPU, or without MPS."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __enter__(self) -> Bench:
        raise self._error

    def __exit__(self, *_: object) -> None:
        return


def _verdicts(bench: Bench) -> dict[str, Verdict]:
    outcomes = run_all(CHECKS, bench, lambda outcome: None)
    return {outcome.check.name: outcome.finding.verdict for outcome in outcomes}


def test_on_a_gpu_by_the_documents_every_assumption_holds() -> None:
    verdicts = _verdicts(FakeBench())
    assert {name for name, verdict in verdicts.items() if verdict is Verdict.FAILS} == set()
    assert verdicts["batch-time"] is Verdict.SKIPPED


#: Those that measure and judge nothing.
_FIGURES = {"batch-time", "assertion"}


@pytest.mark.parametrize("name", sorted({check.name for check in CHECKS} - _FIGURES))
def test_each_check_fails_when_its_assumption_does_not_hold(name: str) -> None:
    assert _verdicts(FakeBench(off=name))[name] is Verdict.FAILS


@pytest.mark.parametrize(
    "otherwise",
    [
        {"uuid": "GPU-2"},
        {"name": "NVIDIA H200"},
        # With what the driver reserves.
        {"memory_bytes": 81559 * MIB},
        {"core_count": 114 * 128},
        {"compute_capability": Version(10, 0)},
        {"mig_enabled": True},
        {"faults": Faults(recovery_needed=True)},
    ],
    ids=lambda otherwise: next(iter(otherwise)),
)
def test_what_the_agents_library_reads_otherwise_than_the_driver_tells_others_is_found(
    otherwise: Mapping[str, Any],
) -> None:
    bench = FakeBench()
    bench.library.gpus = [dataclasses.replace(_H100, **otherwise)]
    assert _verdicts(bench)["readings"] is Verdict.FAILS


def test_a_driver_version_that_is_read_otherwise_is_found() -> None:
    bench = FakeBench()
    bench.library.driver = Version(61, 57)
    assert _verdicts(bench)["readings"] is Verdict.FAILS


@pytest.mark.parametrize(
    ("cuda", "verdict"), [(Version(13, 0), Verdict.HOLDS), (Version(13, 1), Verdict.FAILS)]
)
def test_48_clients_at_once_are_enough_until_cuda_13_1(cuda: Version, verdict: Verdict) -> None:
    class Bench48(FakeBench):
        def at_once(self, count: int) -> int:
            return 48

    bench = Bench48()
    bench.library.cuda = cuda
    assert _verdicts(bench)["client-limit"] is verdict


@pytest.mark.parametrize("client", [Client({}, 1), Client({"error": "CUDA out of memory."}, 0)])
def test_a_client_that_never_gets_memory_says_nothing_of_its_limit(client: Client) -> None:
    class WithoutMemory(FakeBench):
        def clients(self, *commands: Sequence[str], percent: int = 100, **env: str) -> Sequence[Client]:
            return [client]

    assert _verdicts(WithoutMemory())["memory-limit"] is Verdict.FAILS


@pytest.mark.parametrize("client", [Client({}, 1), Client({"error": "MPS client failed to connect"}, 0)])
def test_a_client_that_fails_for_another_reason_is_not_kept_to_its_limit(client: Client) -> None:
    class Refusing(FakeBench):
        def clients(self, *commands: Sequence[str], percent: int = 100, **env: str) -> Sequence[Client]:
            if env == {"CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=1G"}:
                return [client]
            return super().clients(*commands, percent=percent, **env)

    assert _verdicts(Refusing())["memory-limit"] is Verdict.FAILS


@pytest.mark.parametrize("event", [None, XidEvent("GPU-2", 31), XidEvent("GPU-1", 79)])
def test_the_agent_hears_of_a_fault_and_does_not_call_the_gpu_sick_for_it(event: XidEvent | None) -> None:
    class Silent(FakeGpuLibrary):
        def wait_for_xid(self, timeout_ms: int) -> XidEvent | None:
            return event

    bench = FakeBench()
    bench.library = Silent(_H100)
    assert _verdicts(bench)["fault"] is Verdict.FAILS


def test_a_new_daemon_has_to_serve_new_clients() -> None:
    class Dead(FakeBench):
        def kill_daemon(self) -> None:
            super().kill_daemon()
            self.off = "after-fault"

    assert _verdicts(Dead())["daemon-killed"] is Verdict.FAILS


def test_each_check_names_what_it_assumes_and_the_source() -> None:
    assert all(check.assumption and check.source for check in CHECKS)
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_a_check_that_breaks_is_a_finding_and_the_next_one_runs() -> None:
    def breaks(_: Bench) -> Finding:
        raise RuntimeError("no such thing")

    checks = [Check("a", "it works", "hope", breaks), CHECKS[0]]
    broken, next_one = run_all(checks, FakeBench(), lambda outcome: None)
    assert broken.finding == Finding(Verdict.FAILS, "RuntimeError: no such thing")
    assert next_one.finding.verdict is Verdict.HOLDS


class FailingBench(FakeBench):
    """Whatever is done while clients are held raises."""

    def clients(self, *commands: Sequence[str], percent: int = 100, **env: str) -> Sequence[Client]:
        self._fail_if_held()
        return super().clients(*commands, percent=percent, **env)

    def ask(self, command: str) -> str:
        self._fail_if_held()
        return super().ask(command)

    def _fail_if_held(self) -> None:
        if self.running:
            raise RuntimeError("CUDA error")


_HOLDING = {
    "server-state",
    "pool-side-by-side",
    "small-beside-large",
    "terminate",
    "assertion",
    "fault",
    "client-killed",
    "daemon-killed",
}


@pytest.mark.parametrize("check", [c for c in CHECKS if c.name in _HOLDING], ids=lambda check: check.name)
def test_no_client_goes_on_beside_the_next_check(check: Check) -> None:
    bench = FailingBench()
    (outcome,) = run_all([check], bench, lambda outcome: None)
    assert outcome.finding == Finding(Verdict.FAILS, "RuntimeError: CUDA error")
    assert bench.running == 0


@pytest.mark.parametrize(("off", "status"), [("", 0), ("pace", 1)])
def test_the_report_is_written_and_the_status_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], off: str, status: int
) -> None:
    @contextmanager
    def bench(_: Path | None) -> Iterator[FakeBench]:
        yield FakeBench(off)

    path = tmp_path / "build" / "report.json"
    assert gpu_check.main(["--report", str(path)], bench) == status
    document = json.loads(path.read_text())
    assert document["gpu"]["uuid"] == "GPU-1"
    assert len(document["checks"]) == len(CHECKS)
    assert f"please send {path} back" in capsys.readouterr().out


@pytest.mark.parametrize("error", [NoGpuError("there is no GPU"), ProgramMissingError("there is no MPS")])
def test_without_a_gpu_or_mps_it_says_so_in_one_line(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu_check.main([], lambda _: NoBench(error)) == 2
    assert capsys.readouterr().out == f"nothing checked: {error}\n"


_SPLIT = {"uuid": "GPU-1111aaaa", "mig.mode.current": "Enabled", "compute_cap": "8.0"}
_PASCAL = {"uuid": "GPU-2222bbbb", "mig.mode.current": "[N/A]", "compute_cap": "6.1"}
_AMPERE = {"uuid": "GPU-3333cccc", "mig.mode.current": "Disabled", "compute_cap": "8.0"}
_TURING = {"uuid": "GPU-4444dddd", "mig.mode.current": "[N/A]", "compute_cap": "7.5"}
_GPUS = [_SPLIT, _PASCAL, _AMPERE, _TURING]


def _visible(devices: str, order: str = "PCI_BUS_ID") -> dict[str, str]:
    return {"CUDA_VISIBLE_DEVICES": devices, "CUDA_DEVICE_ORDER": order}


def test_the_gpu_is_the_first_that_mps_can_share() -> None:
    assert choose_gpu(_GPUS, {}) == _AMPERE


@pytest.mark.parametrize(
    ("visible", "chosen"),
    [("2", _AMPERE), ("3,2", _TURING), ("GPU-4444dddd", _TURING), ("GPU-3333", _AMPERE)],
)
def test_the_gpu_is_the_one_that_cuda_would_take(visible: str, chosen: Mapping[str, str]) -> None:
    assert choose_gpu(_GPUS, _visible(visible)) == chosen


@pytest.mark.parametrize("visible", ["", "4", "-1", "GPU-5", "0", "1"])
def test_where_cuda_would_take_none_that_is_shared_there_is_none_to_check(visible: str) -> None:
    with pytest.raises(NoGpuError, match=f"CUDA_VISIBLE_DEVICES={visible}: "):
        choose_gpu(_GPUS, _visible(visible))


def test_why_every_gpu_is_left_alone_is_said() -> None:
    said = "GPU-1111aaaa is split by MIG.*GPU-2222bbbb has compute capability 6.1"
    with pytest.raises(NoGpuError, match=said):
        choose_gpu([_SPLIT, _PASCAL], {})


@pytest.mark.parametrize("env", [{"CUDA_VISIBLE_DEVICES": "2"}, _visible("2", "FASTEST_FIRST")])
def test_a_number_is_of_one_gpu_only_where_cuda_counts_along_the_bus(env: Mapping[str, str]) -> None:
    with pytest.raises(NoGpuError, match="by its UUID, or set CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        choose_gpu(_GPUS, env)
    assert choose_gpu([_AMPERE], {"CUDA_VISIBLE_DEVICES": "0"}) == _AMPERE


def test_a_client_takes_the_only_gpu_that_its_daemon_shows(tmp_path: Path) -> None:
    bench = RealBench(_AMPERE | {"memory.total": "40960 MiB"}, tmp_path, None)
    assert bench.env["CUDA_VISIBLE_DEVICES"] == "0"


def test_gpus_are_read_from_the_drivers_table() -> None:
    line = "GPU-74d4, NVIDIA A100-SXM4-40GB, 40960 MiB, 571 MiB, 8.0, Disabled, 580.65.06, Enabled\n"
    (read,) = parse_gpus(line)
    assert (read["uuid"], read["memory.total"], read["compute_cap"]) == ("GPU-74d4", "40960 MiB", "8.0")
    assert read["mig.mode.current"] == "Disabled"
