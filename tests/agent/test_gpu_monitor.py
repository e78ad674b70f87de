"""The monitor sees GPUs come, go, fall sick and be lost, and outlives a driver that is not there."""

from threading import Event, Thread

import pytest

from kneescale.agent.gpu_library import Faults, LibraryError, LibraryReplacedError, XidEvent
from kneescale.agent.gpu_monitor import GpuMonitor
from kneescale.core.units import NS_PER_S
from tests.agent.cuda_node import Clock
from tests.agent.fake_gpu_library import A100, H100, NOT_LOADED, FakeGpuLibrary, gpu, looked_at
from tests.waiting import wait_until


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def library() -> FakeGpuLibrary:
    return FakeGpuLibrary(gpu(A100), gpu(H100))


@pytest.fixture
def monitor(library: FakeGpuLibrary, clock: Clock) -> GpuMonitor:
    return looked_at(library, clock)


def _sicknesses(monitor: GpuMonitor) -> dict[str, str]:
    return {gpu.reading.uuid: gpu.sickness for gpu in monitor.state.gpus}


def test_healthy_gpus_are_seen(monitor: GpuMonitor) -> None:
    assert _sicknesses(monitor) == {A100: "", H100: ""}
    assert str(monitor.state.cuda) == "13.1"


def test_an_xid_error_marks_its_gpu_at_once_and_for_good(
    monitor: GpuMonitor, library: FakeGpuLibrary, clock: Clock
) -> None:
    library.events.append(XidEvent(A100, 119))
    monitor.step()
    assert _sicknesses(monitor) == {A100: "XidError", H100: ""}
    clock.now_ns += 1000 * NS_PER_S
    monitor.step()
    assert _sicknesses(monitor) == {A100: "XidError", H100: ""}


def test_a_programs_fault_marks_nothing(monitor: GpuMonitor, library: FakeGpuLibrary) -> None:
    library.events.append(XidEvent(A100, 31))
    monitor.step()
    assert _sicknesses(monitor) == {A100: "", H100: ""}


def test_faults_without_an_event_are_seen_at_the_next_look(
    monitor: GpuMonitor, library: FakeGpuLibrary, clock: Clock
) -> None:
    library.gpus[1] = gpu(H100, faults=Faults(row_remap_failed=True))
    monitor.step()
    assert _sicknesses(monitor)[H100] == ""
    clock.now_ns += 5 * NS_PER_S
    monitor.step()
    assert _sicknesses(monitor)[H100] == "RowRemapFailure"
    library.gpus[1] = gpu(H100)
    clock.now_ns += 5 * NS_PER_S
    monitor.step()
    assert _sicknesses(monitor)[H100] == "", "what the driver takes back is well again"


def test_a_lost_gpu_stays_known_and_sick(monitor: GpuMonitor, library: FakeGpuLibrary) -> None:
    library.gpus.pop()
    library.lost = 1
    monitor.look()
    assert _sicknesses(monitor) == {A100: "", H100: "GpuLost"}
    monitor.look()
    assert _sicknesses(monitor) == {A100: "", H100: "GpuLost"}


def test_a_gpu_is_lost_only_after_errors_for_a_while(
    monitor: GpuMonitor, library: FakeGpuLibrary, clock: Clock
) -> None:
    silent, library.failed = library.gpus.pop(), 1
    for _ in range(2):
        clock.now_ns += 5 * NS_PER_S
        monitor.step()
        assert _sicknesses(monitor) == {A100: "", H100: ""}, "one answer that fails changes nothing"
    clock.now_ns += 5 * NS_PER_S
    monitor.step()
    assert _sicknesses(monitor) == {A100: "", H100: "GpuLost"}
    library.gpus.append(silent)
    library.failed = 0
    clock.now_ns += 5 * NS_PER_S
    monitor.step()
    assert _sicknesses(monitor) == {A100: "", H100: ""}


@pytest.mark.parametrize("xid", [79, 119])
def test_a_gpu_that_reported_an_xid_error_is_sick_at_once_though_its_answer_fails(
    monitor: GpuMonitor, library: FakeGpuLibrary, xid: int
) -> None:
    library.gpus.pop()
    library.failed = 1
    library.events.append(XidEvent(H100, xid))
    monitor.step()
    assert _sicknesses(monitor) == {A100: "", H100: {79: "GpuLost", 119: "XidError"}[xid]}


def test_a_gpu_that_the_driver_called_lost_stays_so_until_it_is_read(
    monitor: GpuMonitor, library: FakeGpuLibrary
) -> None:
    library.gpus.pop()
    library.lost = 1
    monitor.look()
    library.lost, library.failed = 0, 1
    monitor.look()
    assert _sicknesses(monitor) == {A100: "", H100: "GpuLost"}


def test_a_mark_outlives_a_look_that_cannot_reach_its_gpu(
    monitor: GpuMonitor, library: FakeGpuLibrary
) -> None:
    library.events.append(XidEvent(A100, 119))
    monitor.step()
    unreachable, library.lost = library.gpus.pop(0), 1
    monitor.look()
    assert _sicknesses(monitor) == {A100: "GpuLost", H100: ""}
    library.gpus.append(unreachable)
    library.lost = 0
    monitor.look()
    assert _sicknesses(monitor) == {A100: "XidError", H100: ""}


@pytest.mark.parametrize(("known", "nameless"), [(True, 0), (False, 1)])
def test_a_lost_gpu_that_was_never_read_is_counted(known: bool, nameless: int) -> None:
    library = FakeGpuLibrary(gpu(A100), gpu(H100))
    monitor = GpuMonitor(library)
    if known:
        monitor.look()
    library.gpus.pop()
    library.lost = 1
    monitor.look()
    assert monitor.state.nameless_lost == nameless


def test_a_removed_gpu_is_forgotten_and_well_when_it_comes_back(
    monitor: GpuMonitor, library: FakeGpuLibrary
) -> None:
    library.events.append(XidEvent(A100, 119))
    monitor.step()
    removed = library.gpus.pop(0)
    monitor.look()
    assert _sicknesses(monitor) == {H100: ""}
    library.gpus.append(removed)
    monitor.look()
    assert _sicknesses(monitor) == {H100: "", A100: ""}


def test_a_wait_that_fails_ends_the_session_and_the_next_one_looks_again(
    monitor: GpuMonitor, library: FakeGpuLibrary
) -> None:
    library.wait_error = LibraryError("DriverFailed", "GPU is lost")
    monitor.step()
    assert not library.is_open
    assert _sicknesses(monitor) == {A100: "", H100: ""}, "one failed wait condemns nobody"
    library.wait_error = None
    library.gpus.pop()
    monitor.step()
    assert (library.opened, _sicknesses(monitor)) == (2, {A100: ""})


def test_gpus_that_came_later_are_seen_by_a_new_session(
    monitor: GpuMonitor, library: FakeGpuLibrary, clock: Clock
) -> None:
    clock.now_ns += 299 * NS_PER_S
    monitor.step()
    assert library.opened == 1
    clock.now_ns += 5 * NS_PER_S
    monitor.step()
    assert library.opened == 2


def test_a_driver_without_gpus_is_asked_through_a_new_session_each_time(
    monitor: GpuMonitor, library: FakeGpuLibrary
) -> None:
    removed, library.gpus = library.gpus, []
    monitor.look()
    assert not library.is_open
    library.gpus = removed
    monitor.step()
    assert _sicknesses(monitor) == {A100: "", H100: ""}


def test_a_driver_that_is_missing_is_asked_again(
    monitor: GpuMonitor, library: FakeGpuLibrary, clock: Clock
) -> None:
    library.error = NOT_LOADED
    monitor.look()
    assert (monitor.state.error, len(monitor.state.gpus)) == (NOT_LOADED, 2), "it may answer in a moment"
    clock.now_ns += 15 * NS_PER_S
    monitor.look()
    assert (monitor.state.error, monitor.state.gpus) == (NOT_LOADED, ())
    library.error = None
    monitor.step()
    assert monitor.state.error is None
    assert _sicknesses(monitor) == {A100: "", H100: ""}


def test_a_session_that_fails_is_replaced_before_anything_is_withdrawn(
    monitor: GpuMonitor, library: FakeGpuLibrary
) -> None:
    library.stale = True
    monitor.look()
    assert (library.opened, monitor.state.error) == (2, None)
    assert _sicknesses(monitor) == {A100: "", H100: ""}


def test_a_library_that_only_another_process_can_load_ends_the_thread(
    monitor: GpuMonitor, library: FakeGpuLibrary
) -> None:
    library.error = LibraryReplacedError("another release")
    with pytest.raises(LibraryReplacedError):
        monitor.look()


def test_a_driver_that_hangs_from_the_start_is_noticed_too(library: FakeGpuLibrary, clock: Clock) -> None:
    clock.now_ns += 1000 * NS_PER_S
    monitor = GpuMonitor(library, clock)
    assert not monitor.is_stuck
    clock.now_ns += 61 * NS_PER_S
    assert monitor.is_stuck


def test_a_driver_that_hangs_is_noticed(monitor: GpuMonitor, clock: Clock) -> None:
    clock.now_ns += 61 * NS_PER_S
    assert monitor.is_stuck
    monitor.step()
    assert not monitor.is_stuck


@pytest.mark.parametrize("error", [None, LibraryError("DriverFailed", "an unknown error")])
def test_first_answers_that_fail_count_only_after_a_while(
    library: FakeGpuLibrary, clock: Clock, error: LibraryError | None
) -> None:
    library.gpus.pop()
    library.failed, library.error = 1, error
    monitor = looked_at(library, clock)
    for _ in range(14):
        assert not monitor.knows_gpus
        clock.now_ns += NS_PER_S
        monitor.step()
    clock.now_ns += NS_PER_S
    monitor.step()
    assert monitor.knows_gpus


def test_after_one_failure_at_the_start_the_next_answer_counts_a_moment_later(
    library: FakeGpuLibrary, clock: Clock
) -> None:
    library.error = LibraryError("DriverFailed", "an unknown error")
    monitor = looked_at(library, clock)
    library.error = None
    monitor.step()
    assert monitor.knows_gpus
    assert _sicknesses(monitor) == {A100: "", H100: ""}


def test_the_thread_ends_when_told_and_closes_its_session(library: FakeGpuLibrary) -> None:
    monitor, stop = GpuMonitor(library), Event()
    thread = Thread(target=monitor.run, args=(stop, lambda: None))
    thread.start()
    library.events.append(XidEvent(H100, 79))
    wait_until(lambda: _sicknesses(monitor) == {A100: "", H100: "GpuLost"}, "the mark")
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert not library.is_open
