"""A picture of schedules as they ran: time across, GPU% up, a colour for each model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path
from typing import Any

from kneescale.cli.plotting import PANEL_IN, Axes, Figure, Patch, Rectangle, literal, mpl, save
from kneescale.core.units import NS_PER_S
from kneescale.sim.spans import Span, busy_percent, stacked

STRIP_BUCKETS = 120
_LEGEND_COLUMNS = 10

#: Models past the tenth have the colours again, each with the next of these: 70 look different.
_HATCHES = ("", "///", "...", "xxx", "\\\\\\", "---", "|||")

#: What matplotlib calls the properties of a patch.
Style = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Panel:
    """One device: what ran there in the `duration_s` from `start_ns` on."""

    title: str
    spans: Sequence[Span]
    start_ns: int
    duration_s: float


def draw_timeline(panels: Sequence[Panel], title: str, detail_s: float, path: Path) -> None:
    """Draw each device: the mean GPU% over the whole time, and the batches of `detail_s` in its middle."""
    looks = styles(sorted({span.model for panel in panels for span in panel.spans}))
    figure = Figure(figsize=(16, PANEL_IN * len(panels)), layout="constrained")
    for panel, place in zip(panels, figure.subfigures(len(panels), 1, squeeze=False)[:, 0], strict=True):
        strip, detail = place.subplots(2, 1, height_ratios=[1, 3])
        strip.set_title(literal(panel.title), loc="left", fontsize=10)
        _draw_strip(strip, panel)
        _draw_detail(detail, panel, looks, detail_s)
    handles = [Patch(**look, label=literal(model)) for model, look in looks.items()]
    columns = min(max(1, len(looks)), _LEGEND_COLUMNS)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=9)
    figure.suptitle(literal(title), x=0.01, ha="left")
    save(figure, path)


def styles(models: Sequence[str]) -> Mapping[str, Style]:
    """How each model's boxes look."""
    colours = mpl.colormaps["tab10"].colors  # type: ignore[attr-defined]
    looks = cycle(product(_HATCHES, colours))
    return {
        model: {"facecolor": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 0.4}
        for model, (hatch, colour) in zip(models, looks, strict=False)
    }


def _draw_strip(axes: Axes, panel: Panel) -> None:
    end_ns = panel.start_ns + int(panel.duration_s * NS_PER_S)
    percents = busy_percent(panel.spans, panel.start_ns, end_ns, STRIP_BUCKETS)
    edges_s = [panel.duration_s * i / STRIP_BUCKETS for i in range(STRIP_BUCKETS + 1)]
    axes.stairs(percents, edges_s, fill=True, color="0.6")
    mean = sum(percents) / STRIP_BUCKETS
    axes.text(0.995, 0.8, f"mean {mean:.0f} %", transform=axes.transAxes, ha="right", va="center", fontsize=8)
    _label(axes, (0, panel.duration_s))


def _draw_detail(axes: Axes, panel: Panel, looks: Mapping[str, Style], detail_s: float) -> None:
    shown_s = min(detail_s, panel.duration_s)
    start_s, end_s = (panel.duration_s - shown_s) / 2, (panel.duration_s + shown_s) / 2
    for span, low in stacked(panel.spans):
        left_s, right_s = ((t - panel.start_ns) / NS_PER_S for t in (span.start_ns, span.end_ns))
        if right_s < start_s or left_s > end_s:
            continue
        axes.add_patch(Rectangle((left_s, low), right_s - left_s, span.gpu_percent, **looks[span.model]))
    _label(axes, (start_s, end_s))
    axes.set_xlabel("seconds", fontsize=8)


def _label(axes: Axes, limits_s: tuple[float, float]) -> None:
    axes.set(xlim=limits_s, ylim=(0, 105), yticks=(0, 50, 100))
    axes.set_ylabel("GPU%", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.axhline(100, color="black", linewidth=0.6)
