"""The checks, in the order in which they run: the last ones end the clients of all that ran before."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from kneescale.agent.cuda_mps import product_name
from kneescale.agent.gpu_abilities import client_limit, sm_count
from kneescale.agent.gpu_health import sickness_of_xid
from kneescale.agent.gpu_library import Faults, GpuLibrary, GpuReading, Inventory, Version, XidEvent
from kneescale.core.errors import InvalidInputError
from kneescale.core.surfaces.gpu_products import CLUSTER_SMS, gpu_product
from kneescale.core.tiers import Tier
from kneescale.core.units import MIB
from kneescale.mps import protocol
from kneescale.mps.protocol import DaemonAnswerError, ServerState
from kneescale.mps.status import DaemonState, DaemonStatus
from kneescale_worker.lanes import served_sms
from tools.gpu_check.bench import Bench, Client, NoGpuError, RunningClient, compute_capability
from tools.gpu_check.check import Check, Finding, Verdict, held

_PERCENTS = (10, 20, 30, 50, 70, 100)
_MPS = "NVIDIA, Multi-Process Service"
_DRIVER_API = "NVIDIA, CUDA Driver API"
#: What a time measured on a GPU that nobody else uses may be off.
_TOLERANCE = 0.15
#: As in pools of lanes: they have made their contexts, and run nothing.
_IDLE_CLIENTS = 6
#: So long do clients go on beside whom others are timed, torch's import of some seconds included.
_HELD_S = "25"
#: Of the partition that is tried, of 4 or 8 SMs each.
_CHUNKS = 3
_FIRST_WITH_PARTITIONS = Version(8, 0)
_NO_DAEMON = "/nonexistent"
#: nvidia-smi gives whole MiB, and a driver's reserve changes a little.
_MEMORY_TOLERANCE_MIB = 16
#: What a client takes; a limit with room for it beside a context, and one with room for a context alone.
_TAKEN_MIB, _WIDE_LIMIT, _NARROW_LIMIT = 2048, "0=4G", "0=1G"
#: More than any driver lets be clients at once.
_MANY_CLIENTS = 64
_XID_WAIT_MS = 2000


def _readings(bench: Bench) -> Finding:
    with _session(bench) as library:
        inventory = library.inventory()
    ours = [reading for reading in inventory.gpus if reading.uuid == bench.gpu["uuid"]]
    if not ours:
        return held(False, f"the agent's library reads no GPU {bench.gpu['uuid']}: {inventory}")
    (reading,) = ours
    differences = _differences(inventory, reading, bench.gpu, int(bench.client("sms").said["sms"]))
    seen = f"{reading}, CUDA {inventory.cuda}; nvidia-smi or CUDA say otherwise of {differences or 'nothing'}"
    return held(not differences, seen)


def _differences(
    inventory: Inventory, reading: GpuReading, gpu: Mapping[str, str], sms: int
) -> dict[str, object]:
    """What nvidia-smi, CUDA or a healthy GPU say, where the agent's library says something else."""
    pairs: dict[str, tuple[object, object]] = {
        "name": (reading.name, gpu["name"]),
        "compute capability": (reading.compute_capability, compute_capability(gpu)),
        "MIG": (reading.mig_enabled, gpu["mig.mode.current"] == "Enabled"),
        "driver": (str(inventory.driver.major), gpu["driver_version"].split(".")[0]),
        "SMs": (sm_count(reading.core_count, reading.compute_capability), sms),
        "faults": (reading.faults, Faults()),
    }
    differences = {what: other for what, (ours, other) in pairs.items() if ours != other}
    memory_mib = int(gpu["memory.total"].split()[0]) - int(gpu["memory.reserved"].split()[0])
    if abs(reading.memory_bytes / MIB - memory_mib) > _MEMORY_TOLERANCE_MIB:
        differences["MiB"] = memory_mib
    return differences


@contextmanager
def _session(bench: Bench) -> Iterator[GpuLibrary]:
    try:
        bench.library.open()
        yield bench.library
    finally:
        bench.library.close()


def _daemon(bench: Bench) -> Finding:
    status = bench.daemon()
    return held(status.state is DaemonState.RUNNING, f"{status.state} {status.line}".strip())


def _ignored_value(bench: Bench) -> Finding:
    answer = bench.control.ask(protocol.set_percentage(150))
    return held(answer.strip() in ("100.0", "100"), f"150 was answered by {answer!r}")


def _server_state(bench: Bench) -> Finding:
    with _held_clients(bench, "multiply", "3") as ours:
        server = bench.server_of(ours.running[0])
        state = protocol.parse_server_state(bench.control.ask(protocol.server_status(server)))
    known = state in (ServerState.ACTIVE, ServerState.UNKNOWN)
    return held(known, f"{state}, with client {ours.running[0].pid} of ours")


def _mps_client(bench: Bench) -> Finding:
    said = bench.client("mps_client").said["mps"]
    outside = bench.client("mps_client", CUDA_MPS_PIPE_DIRECTORY=_NO_DAEMON).said["mps"]
    return held(said and not outside, f"{said} beside a daemon, {outside} without one")


def _sms_by_percentage(bench: Bench) -> Finding:
    seen = {percent: int(bench.client("sms", percent=percent).said["sms"]) for percent in _PERCENTS}
    return held(_are_those_of(Tier.MPS_PROCESSES, seen, seen[100]), _table(seen))


def _datasheet(bench: Bench) -> Finding:
    sms = int(bench.client("sms").said["sms"])
    try:
        product = gpu_product(product_name(bench.gpu["name"]))
    except InvalidInputError as error:
        return Finding(Verdict.MEASURED, f"{sms} SMs; {error}")
    return held(sms == product.sm_count, f"{sms} SMs, datasheet {product.sm_count}")


def _pace(bench: Bench) -> Finding:
    times = {percent: _time_ms(bench.client("multiply", percent=percent).said) for percent in _PERCENTS}
    wanted = {percent: times[100] * 100 / percent for percent in _PERCENTS}
    within = all(_near(times[percent], wanted[percent], 2 * _TOLERANCE) for percent in _PERCENTS)
    return held(within, f"ms: {_table(times)}; in proportion they would be {_table(wanted)}")


def _side_by_side(bench: Bench) -> Finding:
    alone = _time_ms(bench.client("multiply", "2", percent=50).said)
    # At full load for seconds the whole GPU lowers its clocks, whoever uses it.
    whole = _time_ms(bench.client("multiply", "2").said)
    slowest = _slower_of_two_ms(bench)
    seen = f"whole GPU {whole:.2f} ms; 50 GPU% alone {alone:.2f} ms, beside the other {slowest:.2f} ms"
    return held(_near(slowest, 2 * whole, _TOLERANCE), seen)


def _pool_side_by_side(bench: Bench) -> Finding:
    alone = _slower_of_two_ms(bench)
    with _held_clients(bench, "hold_idle", _HELD_S, percent=50, count=_IDLE_CLIENTS):
        beside = _slower_of_two_ms(bench)
    seen = f"two on 50 GPU% {alone:.2f} ms; while {_IDLE_CLIENTS} idle ones hold as much {beside:.2f} ms"
    return held(_near(beside, alone, _TOLERANCE), seen)


def _slower_of_two_ms(bench: Bench) -> float:
    """The slower one's ms of two clients of 50 GPU% that multiply side by side."""
    both = bench.clients(("multiply", "2"), ("multiply", "2"), percent=50)
    return max(_time_ms(client.said) for client in both)


def _small_beside_large(bench: Bench) -> Finding:
    alone = _time_ms(bench.client("many_small", percent=10).said)
    with _held_clients(bench, "hold", _HELD_S, percent=60):
        beside = _time_ms(bench.client("many_small", percent=10).said)
    seen = f"ms of many small kernels on 10 GPU%: {alone:.2f}; beside a large one on 60 GPU% {beside:.2f}"
    return held(beside <= (1 + 2 * _TOLERANCE) * alone, seen)


def _green(bench: Bench) -> Finding:
    said = bench.client("green", *map(str, _PERCENTS)).said
    sms = {int(percent): count for percent, count in said["sms"].items()}
    seen = f"{_table(sms)}; {said['groups']} groups"
    return held(all(sms[percent] >= sms[100] * percent / 100 for percent in _PERCENTS), seen)


def _green_side_by_side(bench: Bench) -> Finding:
    alone = _time_ms(bench.client("multiply_green", "50", "2").said)
    both = bench.clients(("multiply_green", "50", "2"), ("multiply_green", "50", "2"))
    slowest = max(_time_ms(client.said) for client in both)
    seen = f"alone {alone:.1f} ms, beside the other process {slowest:.1f} ms"
    return held(slowest > (1 + _TOLERANCE) * alone, seen)


def _mps_contexts(bench: Bench) -> Finding:
    said = bench.client(
        "contexts",
        *map(str, _PERCENTS),
        CUDA_MPS_ENABLE_PER_CTX_DEVICE_MULTIPROCESSOR_PARTITIONING="1",
    ).said
    sms = {int(percent): count for percent, count in said["sms"].items()}
    whole = int(bench.client("sms").said["sms"])
    return held(_are_those_of(Tier.MPS_CONTEXTS, sms, whole), _table(sms))


def _are_those_of(tier: Tier, seen: Mapping[int, int], whole: int) -> bool:
    """Whether all lanes have the SMs that profiles are fitted for, give or take a cluster."""
    wanted = {percent: served_sms(tier, percent, whole) or 0 for percent in _PERCENTS}
    return all(abs(seen.get(percent, 0) - wanted[percent]) <= CLUSTER_SMS for percent in _PERCENTS)


def _batch_time(bench: Bench) -> Finding:
    if bench.model_dir is None:
        return Finding(Verdict.SKIPPED, "no model was given (--model DIR)")
    model = str(bench.model_dir)
    times = {
        percent: _time_ms(bench.client("batch", model, str(percent), "8", percent=percent).said)
        for percent in (20, 50, 100)
    }
    return Finding(Verdict.MEASURED, f"a batch of 8 in ms: {_table(times)}")


def _memory_limit(bench: Bench) -> Finding:
    wide, narrow = (_taking_memory(bench, limit) for limit in (_WIDE_LIMIT, _NARROW_LIMIT))
    holds = wide == Client({"error": ""}, 0) and "out of memory" in narrow.said.get("error", "")
    return held(holds, f"{_TAKEN_MIB} MiB with {_WIDE_LIMIT}: {wide}; with {_NARROW_LIMIT}: {narrow}")


def _taking_memory(bench: Bench, limit: str) -> Client:
    return bench.client("allocate", str(_TAKEN_MIB), CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=limit)


def _client_limit(bench: Bench) -> Finding:
    with _session(bench) as library:
        published = client_limit(library.inventory().cuda)
    at_once = bench.at_once(_MANY_CLIENTS)
    return held(
        at_once >= published, f"{at_once} of {_MANY_CLIENTS} were at once; the agent counts with {published}"
    )


def _static_partition(bench: Bench) -> Finding:
    try:
        partition = protocol.parse_partition(bench.control.ask(protocol.add_partition(bench.gpu["uuid"], 1)))
    except DaemonAnswerError as error:
        return held("Unknown command" in str(error) or "static" in str(error).lower(), str(error))
    return held(False, f"a daemon without -S made {partition}")


def _sm_partition(bench: Bench) -> Finding:
    if compute_capability(bench.gpu) < _FIRST_WITH_PARTITIONS:
        return Finding(Verdict.SKIPPED, f"it takes compute capability {_FIRST_WITH_PARTITIONS}")
    try:
        seen = bench.partitioned(_CHUNKS)
    except NoGpuError as error:
        return Finding(Verdict.SKIPPED, f"{error}; it takes CUDA 13.1 in the driver")
    given_back = "given back" if seen.is_given_back else "NOT given back"
    says = f"a client in {_CHUNKS} chunks saw {seen.sms} SMs; the partition was {given_back}"
    return held(seen.sms in (4 * _CHUNKS, 8 * _CHUNKS) and seen.is_given_back, says)


def _terminate(bench: Bench) -> Finding:
    with _held_clients(bench, "hold") as ours:
        (running,) = ours.running
        answer = bench.control.ask(protocol.terminate_client(bench.server_of(running), running.pid))
    (client,) = ours.ended
    seen = f"answer {answer!r}; the client saw {client.said.get('error')!r}"
    return held(bool(client.said.get("error")), seen)


def _fault(bench: Bench) -> Finding:
    with _session(bench) as library:
        culprit, neighbour, status = _beside_a_neighbour(bench, "fault")
        event = library.wait_for_xid(_XID_WAIT_MS)
    holds = status.losses > 0 and bool(neighbour) and _is_harmless(event, bench)
    return held(holds, f"{_seen_of_fault(culprit, neighbour, status)}; the agent was told {event}")


def _is_harmless(event: XidEvent | None, bench: Bench) -> bool:
    """Whether the agent is told of it, and goes on with this GPU."""
    if event is None or event.uuid != bench.gpu["uuid"]:
        return False
    return not sickness_of_xid(event.xid, compute_capability(bench.gpu))


def _assertion(bench: Bench) -> Finding:
    return Finding(Verdict.MEASURED, _seen_of_fault(*_beside_a_neighbour(bench, "fail_assertion")))


def _after_fault(bench: Bench) -> Finding:
    client = bench.client("multiply")
    status = bench.daemon()
    return held(client.status == 0, f"a new client ended with {client.status}; the daemon is {status.state}")


def _client_killed(bench: Bench) -> Finding:
    with _held_clients(bench, "hold", _HELD_S) as beside, _held_clients(bench, "hold", _HELD_S) as ours:
        # Once a third has come and gone, both are at work.
        bench.client("multiply")
        ours.running[0].kill()
    (neighbour,) = beside.ended
    told, later = neighbour.said.get("error", ""), bench.client("multiply").status
    seen = f"its neighbour was told {told!r} and ended with {neighbour.status}; a new one ended with {later}"
    return held(neighbour.status == later == 0 and not told, f"{seen}; the daemon is {bench.daemon().state}")


def _daemon_killed(bench: Bench) -> Finding:
    with _held_clients(bench, "hold", _HELD_S, count=2) as ours:
        # As above.
        bench.client("multiply")
        bench.kill_daemon()
    told = [client.said.get("error", "") for client in ours.ended]
    bench.start_daemon()
    later = bench.client("multiply").status
    seen = f"its clients were told {told}; one of the new daemon ended with {later}"
    return held(all(told) and later == 0, seen)


def _beside_a_neighbour(bench: Bench, program: str) -> tuple[str, str, DaemonStatus]:
    """What the program and a client beside it were told by CUDA, and how the daemon is afterwards."""
    with _held_clients(bench, "hold", "20") as beside:
        told = bench.client(program).said.get("error", "")
    (neighbour,) = beside.ended
    return told, neighbour.said.get("error", ""), bench.daemon()


def _seen_of_fault(culprit: str, neighbour: str, status: DaemonStatus) -> str:
    return (
        f"it was told {culprit!r}, its neighbour {neighbour!r}; the daemon is {status.state}, "
        f"losses {status.losses}, line {status.line!r}"
    )


@dataclass(frozen=True, slots=True)
class _Held:
    """Clients that go on beside what is looked at; all are among `ended` after that."""

    running: list[RunningClient] = field(default_factory=list)
    ended: list[Client] = field(default_factory=list)


@contextmanager
def _held_clients(
    bench: Bench, program: str, *arguments: str, percent: int = 100, count: int = 1
) -> Iterator[_Held]:
    """Clients that the daemon lists; whatever comes between, none goes on beside the next check."""
    with ExitStack() as stack:
        held_ones = _Held()
        for _ in range(count):
            client = bench.start(program, *arguments, percent=percent)
            held_ones.running.append(client)
            stack.callback(_wait_for_end, client, held_ones)
        for client in held_ones.running:
            bench.server_of(client)
        yield held_ones


def _wait_for_end(client: RunningClient, held_ones: _Held) -> None:
    held_ones.ended.append(client.result())


def _time_ms(said: Mapping[str, float]) -> float:
    return float(said["median_ms"])


def _near(value: float, wanted: float, tolerance: float) -> bool:
    return abs(value - wanted) <= tolerance * wanted


def _table(values: Mapping[int, float]) -> str:
    return ", ".join(f"{percent} GPU% {value:g}" for percent, value in sorted(values.items()))


CHECKS = (
    Check(
        "readings",
        "the agent's library reads of the GPU what nvidia-smi and CUDA do, and no fault",
        "NVIDIA, NVML API",
        _readings,
    ),
    Check(
        "daemon",
        "a control daemon starts as this user, for one UUID, and takes its limits",
        _MPS,
        _daemon,
    ),
    Check(
        "ignored-value",
        "a percentage out of range is ignored, and the old one answered",
        "seen with driver 535",
        _ignored_value,
    ),
    Check(
        "server-state",
        "a server is ACTIVE, and its clients are listed by the host's PIDs",
        _MPS,
        _server_state,
    ),
    Check(
        "mps-client",
        "the driver tells whether a process is a client of MPS",
        "cuda.h, CU_DEVICE_ATTRIBUTE_MPS_ENABLED",
        _mps_client,
    ),
    Check(
        "datasheet",
        "the GPU has as many SMs as its datasheet says",
        "core/surfaces/gpu_products.py",
        _datasheet,
    ),
    Check(
        "sms",
        "a client of p GPU% sees p % of the SMs, rounded down to pairs",
        f"{_MPS}, Execution Resource Provisioning",
        _sms_by_percentage,
    ),
    Check(
        "pace",
        "work that fills a GPU takes 100/p times as long on p GPU%",
        "arXiv 2304.13541, section on the knee",
        _pace,
    ),
    Check(
        "side-by-side",
        "two capped clients of 50 GPU% together do as much as one with the whole GPU",
        "ADR 21",
        _side_by_side,
    ),
    Check(
        "pool-side-by-side",
        "clients that are idle take nothing from others, though all caps add up to more than the GPU",
        "ADR 21; arXiv 2304.13541, section on spatio-temporal scheduling",
        _pool_side_by_side,
    ),
    Check(
        "small-beside-large",
        "a model of many small kernels keeps its pace beside one of large kernels",
        "ADR 21",
        _small_beside_large,
    ),
    Check(
        "green",
        "green contexts work under MPS at 100 %, and are rounded up",
        f"{_DRIVER_API}, Green Contexts",
        _green,
    ),
    Check(
        "green-side-by-side",
        "green contexts of 50 GPU% in two processes are on the same SMs, and slow each other",
        "ADR 21; pytorch issue 195378",
        _green_side_by_side,
    ),
    Check(
        "mps-contexts",
        "one client has contexts of different sizes, p % of the SMs rounded up to pairs",
        f"{_DRIVER_API}, cuCtxCreate_v3 and _v4",
        _mps_contexts,
    ),
    Check("batch-time", "a worker's batch times, to lay beside the profile", "ModelProfile", _batch_time),
    Check(
        "memory-limit",
        "a client that wants more memory than its limit, and no other, is told that there is none",
        f"{_MPS}, CUDA_MPS_PINNED_DEVICE_MEM_LIMIT",
        _memory_limit,
    ),
    Check(
        "static-partition",
        "a daemon without -S makes no SM partitions, and says so",
        f"{_MPS}, Static SM Partitioning",
        _static_partition,
    ),
    Check(
        "sm-partition",
        "a client has the SMs of its partition, which is given back after it",
        f"{_MPS}, Static SM Partitioning",
        _sm_partition,
    ),
    Check("client-limit", "48 clients can be at once before CUDA 13.1, 60 since", _MPS, _client_limit),
    Check(
        "terminate",
        "terminate_client ends one client's work, with an error there",
        _MPS,
        _terminate,
    ),
    Check(
        "assertion",
        "a kernel's failed assertion ends its own client alone, or all of them",
        f"{_MPS}, Error Containment, says nothing of it",
        _assertion,
    ),
    Check(
        "fault",
        "a fault reaches all clients, is seen in status or log, and as an Xid that makes no GPU sick",
        f"{_MPS}, Error Containment; Xid catalog",
        _fault,
    ),
    Check("after-fault", "when all clients are gone, new ones are served", _MPS, _after_fault),
    Check(
        "client-killed",
        "a client that is killed in the middle of a kernel harms no other",
        f"{_MPS}, promises nothing of it",
        _client_killed,
    ),
    Check(
        "daemon-killed",
        "clients of a daemon that is killed are told of an error, and a new daemon serves new ones",
        "ADR 22",
        _daemon_killed,
    ),
)
