"""The pictures of docs/results.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from kneescale.cli.timeline import Panel, draw_timeline
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.sim.mixes import knee_percent, tenants_of
from kneescale.sim.spans import spans_of
from kneescale.sim.systems import SYSTEMS, best_of
from tools.results.figures import Results
from tools.results.mixes import Models
from tools.results.study import POISSON

#: The table has all; a picture of them could not be read.
_SHOWN = (
    "dstack",
    "dstack-4-lanes",
    "dstack-3-lanes",
    "temporal",
    "clipper",
    "clockwork",
    "nexus",
    "gpulet",
    "fixed-batch-mps",
    "gslice",
    "static-partitions",
    "triton",
    "max-min-free",
    "ideal",
)

_TIMELINE_LOAD = 0.8
_TIMELINE_DETAIL_S = 0.25
_TIMELINES = ("temporal", "gslice", "dstack", "ideal")


def draw_capacities(results: Results, mixes: Sequence[str], path: Path) -> None:
    """A group of bars for each mix, a bar for each system, against the bound."""
    figure = Figure(figsize=(14, 4.5), layout="constrained")
    axes = figure.subplots()
    width = 0.85 / len(_SHOWN)
    colours = mpl.colormaps["tab20"].colors  # type: ignore[attr-defined]
    for number, system in enumerate(_SHOWN):
        left = [group - 0.425 + width * (number + 0.5) for group in range(len(mixes))]
        heights = [results.capacity(mix, system) for mix in mixes]
        axes.bar(left, heights, width, label=system, color=colours[number % len(colours)])
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set(xticks=range(len(mixes)), xticklabels=mixes, ylim=(0, 1.05))
    axes.set_ylabel("load carried, as a fraction of the fluid bound")
    figure.legend(loc="outside right center", fontsize=8)
    figure.savefig(path, dpi=100)


def draw_knees(surfaces: Mapping[str, LatencySurface], path: Path) -> None:
    """Latency over GPU% for each model, at its largest batch, with the knee."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, surface in surfaces.items():
        batch, percents = surface.batches[-1], surface.gpu_percents
        latencies_ms = [surface.latency_ms(percent, batch) for percent in percents]
        (line,) = axes.plot(percents, latencies_ms, label=f"{name}, batch {batch}")
        knee = knee_percent(surface, batch)
        axes.plot([knee], [surface.latency_ms(knee, batch)], "o", color=line.get_color())
    axes.set(xlim=(0, WHOLE_GPU_PERCENT), yscale="log", xlabel="GPU%", ylabel="latency of a batch (ms)")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def draw_timelines(models: Models, path: Path) -> None:
    """What runs when under some systems, at the same load."""
    tenants = tenants_of(models)
    panels = []
    for name in _TIMELINES:
        variant = best_of(SYSTEMS[name], tenants, POISSON).variant
        record = POISSON.run(tenants, variant.system, load=_TIMELINE_LOAD)
        panels.append(Panel(name, spans_of(record), 0, POISSON.duration_s))
    draw_timeline(panels, f"GPU% in use at load {_TIMELINE_LOAD}, simulated", _TIMELINE_DETAIL_S, path)
