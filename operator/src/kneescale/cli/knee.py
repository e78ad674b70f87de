"""`kneescale knee`: each model's knee, and the GPU% and batch that its SLO allows."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from kneescale.cli.command import (
    Subcommands,
    add_output_argument,
    add_plot_argument,
    check_plot,
    new_parser,
    write_json,
)
from kneescale.cli.limits import RATE_RPS, SLO_MS, number
from kneescale.cli.profiles import SHIPPED, Profile, read_profiles, shipped_profiles
from kneescale.cli.table import write_table
from kneescale.core.errors import InfeasibleError, InvalidInputError
from kneescale.core.planning.configuration import efficient_configuration
from kneescale.core.surfaces.knee import find_efficacy_knee, find_knee
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import MS_PER_S

_DEFAULT_SLO_MS = 100.0

_HELP = """\
Reads measured latency surfaces and says for each model, on each GPU product:

  knee        the GPU% past which no further 10 GPU% save 10 % of the latency (largest batch measured)
  by efficacy the GPU% of the highest efficacy, b / (f^2 * p), at the same batch; - where there is no knee
  GPU%, batch the run of the highest efficacy with f <= SLO/2 and, where the rate is known, f + the time to
              gather the batch <= SLO (D-STACK, arXiv 2304.13541)
  latency     of that run; throughput of one such run after the other
  between     what the measured points leave possible of that latency, if more GPU and more items behave: at
              most in proportion, and never the wrong way; * where the run lies beyond the points
  GPU area    the part of a GPU (GPU% x time) that the rate takes; without a rate, one batch per SLO

PROFILES is a CSV file with the columns model, batch, gpu_percent, latency_ms and, for several GPU products,
product (in any order; holes are filled on the slow side), ModelProfile resources in a .yaml file, or
`shipped`: the figures that come with the product, of a V100-SXM2-16GB."""

_EXAMPLES = """\
examples:
  kneescale knee shipped --slo-ms 70
  kneescale knee profiles.csv --slo-ms 50 --plot knee.png
  kneescale knee profiles.csv --model resnet50 --slo-ms 60 --rate 120 --output json
  kubectl get modelprofiles.kneescale.dev resnet50 -o yaml > p.yaml; kneescale knee p.yaml"""


@dataclass(frozen=True, slots=True)
class Row:
    """What is said about one model on one GPU product; without a feasible run `reason` says why.

    `product` is None where the file does not name one.
    """

    model: str
    product: str | None
    knee_percent: int | None
    efficacy_knee_percent: int | None
    gpu_percent: int | None = None
    batch: int | None = None
    latency_ms: float | None = None
    latency_between_ms: tuple[float, float] | None = None
    is_extrapolated: bool | None = None
    throughput_rps: float | None = None
    area_percent: float | None = None
    reason: str | None = None


def add_to(subcommands: Subcommands) -> None:
    """Add the command's parser."""
    parser = new_parser(
        subcommands,
        "knee",
        summary="find the knee and the best GPU%% and batch in measured profiles",
        description=_HELP,
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "profiles", metavar="PROFILES", type=Path, help="CSV, ModelProfile YAML, or `shipped`"
    )
    parser.add_argument("--model", metavar="M", help="only this model")
    parser.add_argument("--product", metavar="P", help="only this GPU product")
    parser.add_argument(
        "--slo-ms",
        metavar="N",
        type=number(*SLO_MS),
        default=_DEFAULT_SLO_MS,
        help="latency SLO (default: %(default)g)",
    )
    parser.add_argument(
        "--rate", metavar="R", type=number(*RATE_RPS), help="items per second (default: not known)"
    )
    add_output_argument(parser)
    add_plot_argument(parser, "also draw each model's latency over GPU%%")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, out: TextIO) -> None:
    """Write one row for each model and GPU product, and draw them where asked.

    Raises InvalidInputError where the file cannot be read or does not hold the model or product asked for.
    """
    check_plot(arguments)
    profiles = _chosen(arguments)
    _check_rows(len(profiles), arguments)
    surfaces = [LatencySurface.from_points(profile.points) for profile in profiles]
    rows = [_row(profile, surface, arguments) for profile, surface in zip(profiles, surfaces, strict=True)]
    if arguments.output == "json":
        write_json([asdict(row) for row in rows], out)
    else:
        _write(rows, out)
    if arguments.plot:
        _draw(profiles, surfaces, rows, arguments.plot)


def _check_rows(profiles: int, arguments: argparse.Namespace) -> None:
    if arguments.plot:
        from kneescale.cli.knee_picture import rows_of

        check_plot(arguments, rows_of(profiles))


def _chosen(arguments: argparse.Namespace) -> Sequence[Profile]:
    model, product = arguments.model, arguments.product
    is_shipped = arguments.profiles == Path(SHIPPED)
    profiles = shipped_profiles() if is_shipped else read_profiles(arguments.profiles)
    chosen = [each for each in profiles if model in (None, each.model) and product in (None, each.product)]
    if not chosen:
        asked = f"model {model}" if model else "profile"
        on_product = f" on {product}" if product else ""
        have = ", ".join(profile.title for profile in profiles)
        raise InvalidInputError(f"{arguments.profiles}: holds no {asked}{on_product}; it has {have}")
    return chosen


def _row(profile: Profile, surface: LatencySurface, arguments: argparse.Namespace) -> Row:
    known = (profile.model, profile.product or None, find_knee(surface), find_efficacy_knee(surface))
    try:
        chosen = efficient_configuration(surface, slo_ms=arguments.slo_ms, rate_rps=arguments.rate)
    except InfeasibleError as error:
        return Row(*known, reason=str(error))
    estimate = surface.estimate(chosen.gpu_percent, chosen.batch)
    return Row(
        *known,
        gpu_percent=chosen.gpu_percent,
        batch=chosen.batch,
        latency_ms=round(chosen.latency_ms, 3),
        latency_between_ms=(round(estimate.low_ms, 3), round(estimate.high_ms, 3)),
        is_extrapolated=estimate.is_extrapolated,
        throughput_rps=round(MS_PER_S * chosen.batch / chosen.latency_ms, 1),
        area_percent=chosen.area_permille / 10,
    )


def _draw(
    profiles: Sequence[Profile], surfaces: Sequence[LatencySurface], rows: Sequence[Row], path: Path
) -> None:
    # Only here: matplotlib is an extra, and takes longer to import than the command to run.
    from kneescale.cli.knee_picture import KneeCurves, draw_knees

    curves = [
        KneeCurves(profile.title, surface, row.knee_percent, row.gpu_percent, row.batch)
        for profile, surface, row in zip(profiles, surfaces, rows, strict=True)
    ]
    draw_knees(curves, path)


def _write(rows: Sequence[Row], out: TextIO) -> None:
    titles = ("KNEE", "BY EFFICACY", "GPU%", "BATCH", "LATENCY (ms)", "BETWEEN (ms)", "THROUGHPUT (/s)")
    of_products = any(row.product for row in rows)
    write_table(
        ("MODEL", *(["PRODUCT"] if of_products else []), *titles, "GPU AREA (%)", ""),
        [_cells(row, of_products) for row in rows],
        out,
    )


def _cells(row: Row, of_products: bool) -> Sequence[object]:
    return [
        row.model,
        *([row.product] if of_products else []),
        row.knee_percent,
        row.efficacy_knee_percent,
        row.gpu_percent,
        row.batch,
        row.latency_ms,
        _between(row),
        row.throughput_rps,
        row.area_percent,
        row.reason or "",
    ]


def _between(row: Row) -> str | None:
    if row.latency_between_ms is None:
        return None
    low, high = (f"{latency_ms:.4g}" for latency_ms in row.latency_between_ms)
    return "measured" if low == high else f"{low} to {high}{'*' if row.is_extrapolated else ''}"
