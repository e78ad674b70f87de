"""A picture of autoscalers at work: the rate, and for each one its replicas, GPUs and p99 over time."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kneescale.cli.plotting import Axes, Figure, literal, mpl, save
from kneescale.sim.autoscaling.autoscalers import Tried
from kneescale.sim.autoscaling.figures import BUCKET_S
from kneescale.sim.autoscaling.scene import Scene

#: Where p99 is more than so many SLOs, or nobody answered, the line is at the upper edge.
_MOST_SLOS = 2.0


def draw_autoscalers(outcomes: Mapping[str, Tried], scene: Scene, path: Path) -> None:
    """Draw rate, replicas, reserved GPUs and p99, one below the other, a colour for each autoscaler.

    Raises InvalidInputError where the file cannot be written, or its ending names no format of a picture.
    """
    figure = Figure(figsize=(11, 9), layout="constrained")
    rate, replicas, reserved, p99 = figure.subplots(4, 1, sharex=True, height_ratios=[2, 2, 3, 3])
    for model, rates_rps in zip(scene.models, scene.rates_rps, strict=True):
        rate.plot(rates_rps, label=literal(model.name), linewidth=1.2)
    rate.legend(fontsize=8)
    colours = mpl.colormaps["tab10"].colors  # type: ignore[attr-defined]
    for colour, (name, tried) in zip(colours, outcomes.items(), strict=False):
        over_time = tried.figures.over_time
        replicas.step(range(scene.duration_s), over_time.replicas, where="post", color=colour, linewidth=1.2)
        gpus = over_time.reserved_gpus
        reserved.step(range(scene.duration_s), gpus, where="post", color=colour, linewidth=1.2, label=name)
        slos = np.minimum(over_time.p99_of_slo, _MOST_SLOS)
        p99.step(BUCKET_S * np.arange(len(slos)), slos, where="post", color=colour, linewidth=1.2)
    p99.axhline(1, color="black", linewidth=0.6)
    _label(rate, "requests/s")
    _label(replicas, "replicas")
    _label(reserved, "GPUs reserved")
    _label(p99, "p99 / SLO")
    p99.set(ylim=(0, 1.05 * _MOST_SLOS), xlabel="seconds", xlim=(0, scene.duration_s))
    figure.legend(
        *reserved.get_legend_handles_labels(), loc="outside lower center", ncols=len(outcomes), fontsize=9
    )
    figure.suptitle("Autoscalers, simulated", x=0.01, ha="left")
    save(figure, path)


def _label(axes: Axes, title: str) -> None:
    axes.set_ylabel(title, fontsize=9)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, linewidth=0.3)
