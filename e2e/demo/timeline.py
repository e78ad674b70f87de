"""A picture of the schedule as it ran."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from e2e.demo.trace import NS_PER_S, DeviceTrace, busy_percent, stacked

#: Of the steady load, shown in detail: long enough for a pattern, short enough for single batches.
DETAIL_S = 2.0
STRIP_BUCKETS = 120

Colours = Mapping[str, tuple[float, float, float, float]]


def draw(traces: Sequence[DeviceTrace], title: str, duration_s: float, path: Path) -> None:
    """Draw, for each device, the mean GPU% over the whole load and the batches in the middle of it.

    Time runs across, GPU% up, a colour for each model.
    """
    traces = sorted(traces, key=lambda trace: (trace.node, trace.device))
    models = sorted({span.model for trace in traces for span in trace.spans})
    colours = dict(zip(models, mpl.colormaps["tab10"].colors, strict=False))  # type: ignore[attr-defined]
    figure = Figure(figsize=(16, 3.2 * len(traces)), layout="constrained")
    for trace, panel in zip(traces, figure.subfigures(len(traces), 1, squeeze=False)[:, 0], strict=True):
        strip, detail = panel.subplots(2, 1, height_ratios=[1, 3])
        strip.set_title(f"{trace.node} {trace.device} ({trace.backend})", loc="left", fontsize=10)
        _draw_strip(strip, trace, duration_s)
        _draw_detail(detail, trace, colours, duration_s)
    handles = [Patch(color=colours[model], label=model) for model in models]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(models), fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    figure.savefig(path, dpi=110)


def _draw_strip(axes: Axes, trace: DeviceTrace, duration_s: float) -> None:
    start_ns = trace.now_ns - int(duration_s * NS_PER_S)
    percents = busy_percent(trace.spans, start_ns, trace.now_ns, STRIP_BUCKETS)
    edges_s = [duration_s * i / STRIP_BUCKETS for i in range(STRIP_BUCKETS + 1)]
    axes.stairs(percents, edges_s, fill=True, color="0.6")
    mean = sum(percents) / STRIP_BUCKETS
    axes.text(0.995, 0.8, f"mean {mean:.0f} %", transform=axes.transAxes, ha="right", va="center", fontsize=8)
    _label(axes, (0, duration_s))


def _draw_detail(axes: Axes, trace: DeviceTrace, colours: Colours, duration_s: float) -> None:
    start_s, end_s = (duration_s - DETAIL_S) / 2, (duration_s + DETAIL_S) / 2
    begin_ns = trace.now_ns - int(duration_s * NS_PER_S)
    for span, low in stacked(trace.spans):
        left_s, right_s = ((t - begin_ns) / NS_PER_S for t in (span.start_ns, span.end_ns))
        if right_s < start_s or left_s > end_s:
            continue
        box = Rectangle((left_s, low), right_s - left_s, span.gpu_percent, facecolor=colours[span.model])
        box.set(edgecolor="white", linewidth=0.4)
        axes.add_patch(box)
    _label(axes, (start_s, end_s))
    axes.set_xlabel("seconds", fontsize=8)


def _label(axes: Axes, limits_s: tuple[float, float]) -> None:
    axes.set(xlim=limits_s, ylim=(0, 105), yticks=(0, 50, 100))
    axes.set_ylabel("GPU%", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.axhline(100, color="black", linewidth=0.6)
