"""Whatever comes in whatever order, the monitor lists what the driver lists, and what was lost as sick."""

from hypothesis import given
from hypothesis import strategies as st

from kneescale.agent.gpu_library import LibraryError, XidEvent
from kneescale.agent.gpu_monitor import GpuMonitor
from kneescale.core.units import NS_PER_S
from tests.agent.fake_gpu_library import NOT_LOADED, FakeGpuLibrary, gpu

UUIDS = [f"GPU-{index}" for index in range(3)]
EVENTS = st.one_of(
    st.tuples(st.sampled_from(["lose", "remove", "add"]), st.sampled_from(UUIDS)),
    st.tuples(st.just("xid"), st.tuples(st.sampled_from(UUIDS), st.sampled_from([13, 79, 119]))),
    st.tuples(st.sampled_from(["driver away", "driver back", "wait fails"]), st.just("")),
)


class Node:
    """GPUs, those of them that are lost, and the monitor that looks at them."""

    def __init__(self) -> None:
        self.library = FakeGpuLibrary(*map(gpu, UUIDS))
        self._now_ns = 0
        self.monitor = GpuMonitor(self.library, lambda: self._now_ns)
        self.lost: set[str] = set()
        self.monitor.look()

    def happen(self, kind: str, what: object) -> None:
        """One event, a minute later, and the monitor's next steps."""
        self._now_ns += 60 * NS_PER_S
        library = self.library
        present = {reading.uuid for reading in library.gpus}
        match kind, what:
            case ("lose" | "remove", str(uuid)) if uuid in present:
                library.gpus = [reading for reading in library.gpus if reading.uuid != uuid]
                self.lost |= {uuid} if kind == "lose" else set()
            case "add", str(uuid) if uuid not in present:
                library.gpus.append(gpu(uuid))
                self.lost.discard(uuid)
            case "xid", (str(uuid), int(xid)):
                library.events.append(XidEvent(uuid, xid))
            case "driver away", _:
                library.error = NOT_LOADED
            case "driver back", _:
                library.error = None
            case "wait fails", _:
                library.wait_error = LibraryError("DriverFailed", "no events")
        library.lost = len(self.lost)
        self.monitor.step()
        library.wait_error = None
        self.monitor.look()


@given(st.lists(EVENTS, max_size=12))
def test_the_state_is_what_the_driver_says(events: list[tuple[str, object]]) -> None:
    node = Node()
    for kind, what in events:
        node.happen(kind, what)
        listed = [found.reading.uuid for found in node.monitor.state.gpus]
        present = {reading.uuid for reading in node.library.gpus}
        assert len(listed) == len(set(listed))
        if node.library.error is not None:
            assert (listed, node.monitor.state.error) == ([], NOT_LOADED)
            continue
        assert present <= set(listed) <= present | set(UUIDS)
        assert all(
            found.sickness == "GpuLost"
            for found in node.monitor.state.gpus
            if found.reading.uuid not in present
        )
        if not node.lost:
            assert set(listed) == present
