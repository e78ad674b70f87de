"""A picture of the schedule as it ran."""

from collections.abc import Sequence
from pathlib import Path

from e2e.demo.trace import DeviceTrace
from kneescale.cli.timeline import Panel, draw_timeline
from kneescale.core.units import NS_PER_S

#: Of the steady load, shown in detail: long enough for a pattern, short enough for single batches.
DETAIL_S = 2.0


def draw(traces: Sequence[DeviceTrace], title: str, duration_s: float, path: Path) -> None:
    """Draw the last `duration_s` of each device, and the batches in the middle of it."""
    by_device = sorted(traces, key=lambda trace: (trace.node, trace.device))
    draw_timeline([_panel(trace, duration_s) for trace in by_device], title, DETAIL_S, path)


def _panel(trace: DeviceTrace, duration_s: float) -> Panel:
    title = f"{trace.node} {trace.device} ({trace.backend})"
    return Panel(title, trace.spans, trace.now_ns - int(duration_s * NS_PER_S), duration_s)
