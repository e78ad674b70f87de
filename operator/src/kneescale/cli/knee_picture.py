"""A picture of latency surfaces and their knees."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from kneescale.cli.plotting import PANEL_IN, Axes, Figure, LogFormatter, literal, mpl, save
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import WHOLE_GPU_PERCENT

_COLUMNS = 4


@dataclass(frozen=True, slots=True)
class KneeCurves:
    """What is drawn of one model: its surface, its knee, and the run that was chosen, where there are any."""

    model: str
    surface: LatencySurface
    knee_percent: int | None
    gpu_percent: int | None
    batch: int | None


def draw_knees(models: Sequence[KneeCurves], path: Path) -> None:
    """Draw a panel for each model: latency over GPU%, a curve for each batch; knee and chosen run marked.

    Raises InvalidInputError where the file cannot be written, or its ending names no format of a picture.
    """
    rows, columns = rows_of(len(models)), min(len(models), _COLUMNS)
    figure = Figure(figsize=(4.2 * columns, PANEL_IN * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for model, axes in zip(models, panels, strict=False):
        _draw_curves(axes, model)
    for axes in list(panels)[len(models) :]:
        axes.set_axis_off()
    save(figure, path)


def rows_of(models: int) -> int:
    """How many panels of so many models are one below the other."""
    return ceil(models / _COLUMNS)


def _draw_curves(axes: Axes, model: KneeCurves) -> None:
    surface = model.surface
    percents = range(surface.gpu_percents[0], WHOLE_GPU_PERCENT + 1)
    colours = mpl.colormaps["viridis"].resampled(len(surface.batches) + 1)
    for index, (batch, latencies_ms) in enumerate(
        zip(surface.batches, surface.latencies_ms(percents, surface.batches), strict=True)
    ):
        measured = [point for point in surface.points if point.batch == batch]
        axes.plot(percents, latencies_ms, color=colours(index), linewidth=1, label=f"batch {batch}")
        axes.plot(
            [point.gpu_percent for point in measured],
            [point.latency_ms for point in measured],
            ".",
            color=colours(index),
            markersize=4,
        )
    if model.knee_percent:
        axes.axvline(model.knee_percent, color="0.5", linestyle="--", linewidth=1, label="knee")
    if model.gpu_percent and model.batch:
        chosen_ms = surface.latency_ms(model.gpu_percent, model.batch)
        axes.plot([model.gpu_percent], [chosen_ms], "*", color="crimson", markersize=10, label="chosen")
    axes.set(title=literal(model.model), xlabel="GPU%", ylabel="latency (ms)", yscale="log", xlim=(0, 102))
    axes.yaxis.set_major_formatter(LogFormatter())
    axes.yaxis.set_minor_formatter(LogFormatter())
    axes.legend(fontsize=7)
