"""A picture of schedules as they ran: time across, GPU% up, a colour for each model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kneescale.cli.plotting import Axes, Figure, Patch, Rectangle, mpl, save
from kneescale.core.units import NS_PER_S
from kneescale.sim.spans import Span, busy_percent, stacked

STRIP_BUCKETS = 120

Colours = Mapping[str, tuple[float, float, float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """One device: what ran there in the `duration_s` from `start_ns` on."""

    title: str
    spans: Sequence[Span]
    start_ns: int
    duration_s: float


def draw_timeline(panels: Sequence[Panel], title: str, detail_s: float, path: Path) -> None:
    """Draw each device: the mean GPU% over the whole time, and the batches of `detail_s` in its middle."""
    models = sorted({span.model for panel in panels for span in panel.spans})
    colours = dict(zip(models, mpl.colormaps["tab10"].colors, strict=False))  # type: ignore[attr-defined]
    figure = Figure(figsize=(16, 3.2 * len(panels)), layout="constrained")
    for panel, place in zip(panels, figure.subfigures(len(panels), 1, squeeze=False)[:, 0], strict=True):
        strip, detail = place.subplots(2, 1, height_ratios=[1, 3])
        strip.set_title(panel.title, loc="left", fontsize=10)
        _draw_strip(strip, panel)
        _draw_detail(detail, panel, colours, detail_s)
    handles = [Patch(color=colours[model], label=model) for model in models]
    figure.legend(handles=handles, loc="outside lower center", ncols=max(1, len(models)), fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    save(figure, path)


def _draw_strip(axes: Axes, panel: Panel) -> None:
    end_ns = panel.start_ns + int(panel.duration_s * NS_PER_S)
    percents = busy_percent(panel.spans, panel.start_ns, end_ns, STRIP_BUCKETS)
    edges_s = [panel.duration_s * i / STRIP_BUCKETS for i in range(STRIP_BUCKETS + 1)]
    axes.stairs(percents, edges_s, fill=True, color="0.6")
    mean = sum(percents) / STRIP_BUCKETS
    axes.text(0.995, 0.8, f"mean {mean:.0f} %", transform=axes.transAxes, ha="right", va="center", fontsize=8)
    _label(axes, (0, panel.duration_s))


def _draw_detail(axes: Axes, panel: Panel, colours: Colours, detail_s: float) -> None:
    start_s, end_s = (panel.duration_s - detail_s) / 2, (panel.duration_s + detail_s) / 2
    for span, low in stacked(panel.spans):
        left_s, right_s = ((t - panel.start_ns) / NS_PER_S for t in (span.start_ns, span.end_ns))
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
