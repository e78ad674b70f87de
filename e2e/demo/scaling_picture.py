"""A picture of capacity that follows traffic."""

from pathlib import Path

from e2e.demo.figures import BUCKET_S
from e2e.demo.scaling_report import ModelScaling, ScalingReport
from kneescale.cli.plotting import Axes, Figure, save


def draw_scaling(report: ScalingReport, path: Path) -> None:
    """Draw of each model: what came and what was provided for, GPU% and replicas, and the p99."""
    figure = Figure(figsize=(8 * len(report.models), 9), layout="constrained")
    grid = figure.subplots(3, len(report.models), sharex=True, squeeze=False)
    for column, model in enumerate(report.models):
        rates, sizes, tails = grid[:, column]
        _draw_rates(rates, model, report.items_per_request)
        _draw_sizes(sizes, model)
        _draw_tail(tails, model)
        for axes in (rates, sizes, tails):
            for change_s in report.changes_s:
                axes.axvline(change_s, color="0.8", zorder=0)
    figure.suptitle(f"Capacity follows traffic: {report.traffic} (emulated GPUs)", x=0.01, ha="left")
    save(figure, path)


def _draw_rates(axes: Axes, model: ModelScaling, items: int) -> None:
    starts_s = [bucket.from_s for bucket in model.buckets]
    axes.bar(
        starts_s,
        [bucket.sent * items / BUCKET_S for bucket in model.buckets],
        width=BUCKET_S,
        align="edge",
        color="0.75",
        label="sent",
    )
    times_s = [sighting.at_s for sighting in model.sightings]
    provided = [sighting.provided_ips for sighting in model.sightings]
    axes.step(times_s, provided, where="post", color="tab:blue", label="provided for")
    axes.set_title(f"{model.name}, SLO {model.slo_ms} ms", loc="left")
    axes.set_ylabel("items/s")
    axes.legend(loc="upper right", fontsize=8)


def _draw_sizes(axes: Axes, model: ModelScaling) -> None:
    times_s = [sighting.at_s for sighting in model.sightings]
    percents = [sighting.gpu_percent for sighting in model.sightings]
    axes.step(times_s, percents, where="post", color="tab:green")
    axes.set_ylabel("GPU% of a batch", color="tab:green")
    axes.set_ylim(0, 105)
    replicas = axes.twinx()
    replicas.step(times_s, [s.replicas for s in model.sightings], where="post", color="tab:red", ls=":")
    replicas.step(times_s, [s.ready for s in model.sightings], where="post", color="tab:red")
    replicas.set_ylabel("replicas (dotted: with those that start)", color="tab:red")
    replicas.set_ylim(0, 4)


def _draw_tail(axes: Axes, model: ModelScaling) -> None:
    seen = [bucket for bucket in model.buckets if bucket.p99_ms is not None]
    axes.step(
        [bucket.from_s for bucket in seen],
        [bucket.p99_ms or 0 for bucket in seen],
        where="post",
        color="black",
    )
    axes.axhline(model.slo_ms, color="tab:red", linewidth=0.8)
    axes.set_ylabel("p99 (ms); red: the SLO")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds")
