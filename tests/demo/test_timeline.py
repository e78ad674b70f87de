"""The picture of a schedule: what is drawn, not how it looks."""

from pathlib import Path

from e2e.demo.timeline import draw
from e2e.demo.trace import DeviceTrace
from kneescale.sim.spans import Span

SECOND_NS = 1_000_000_000


def trace(device: str, *spans: Span) -> DeviceTrace:
    return DeviceTrace("node1", device, "emulated", 10 * SECOND_NS, spans, 0)


def test_devices_without_a_grant_and_grants_of_before_the_load_can_be_drawn(tmp_path: Path) -> None:
    before = Span("a", 40, 1, -SECOND_NS, SECOND_NS)
    middle = Span("b", 60, 4, 5 * SECOND_NS, 5 * SECOND_NS + 20_000_000)
    picture = tmp_path / "timeline.png"
    draw([trace("gpu1"), trace("gpu0", before, middle)], "emulated", 10, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
