"""`kneescale predict`: surfaces of models that nobody has measured, from their kernels and a datasheet."""

import argparse
import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO

from kneescale.cli.command import Subcommands, add_output_argument, new_parser, write_json
from kneescale.cli.limits import LATENCY_MS
from kneescale.cli.text_files import read_json
from kneescale.core.errors import InvalidInputError
from kneescale.core.surfaces.catalog import GPU_PERCENTS
from kneescale.core.surfaces.gpu_products import GpuProduct, gpu_product
from kneescale.core.surfaces.kernel_work import KernelWork
from kneescale.core.surfaces.prediction import EAGER_PYTORCH, TORCHSCRIPT, predicted_surface
from kneescale.core.surfaces.surface import Point, doubling_batches

_BATCHES = doubling_batches(128)
_COLUMNS = ("model", "product", "batch", "gpu_percent", "latency_ms")
_FIELDS = tuple(field.name for field in fields(KernelWork))

_LAUNCH_US, _FITTED_LAUNCH_US = TORCHSCRIPT.launch_us, EAGER_PYTORCH.launch_us

_HELP = f"""\
Predicts f(GPU%, batch) from the work of a model's kernels and a GPU's datasheet, and writes it as profiles:
the columns model, product, batch, gpu_percent, latency_ms, which `knee`, `plan` and `simulate` read.

A KERNELS file is what the worker reads in a model; the model's name is the file's:

  python -m kneescale_worker kernels MODEL_DIR > resnet50.json

It is a first answer, for TorchScript in single precision as workers run it: {_LAUNCH_US:g} us for the host
to issue a kernel, and convolutions in TF32 where the GPU has that. These two come from four models on an
H100, whose errors were then 9, 20, 28 and 31 % at their medians; they were tried on no others. All else was
fitted to eager PyTorch on a V100, with {_FITTED_LAUNCH_US:g} us a kernel. There, of published models that it
had not been fitted to, half of the runs that the GPU bounds were within 10 % and nine in ten within 31 %; of
all runs, half within 20 % and nine in ten within 80 %, for hosts issue kernels at very different speeds.
Where it matters, measure."""

_EXAMPLES = """\
examples:
  kneescale predict resnet50.json vgg19.json --product V100-SXM2-16GB > profiles.csv
  kneescale knee profiles.csv --slo-ms 50"""


def add_to(subcommands: Subcommands) -> None:
    """Add the command's parser."""
    parser = new_parser(
        subcommands,
        "predict",
        summary="predict profiles of models that were never measured",
        description=_HELP,
        examples=_EXAMPLES,
    )
    parser.add_argument("kernels", metavar="KERNELS", type=Path, nargs="+", help="JSON, one file a model")
    parser.add_argument("--product", metavar="P", required=True, help="a GPU product, like V100-SXM2-16GB")
    add_output_argument(parser, "csv")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, out: TextIO) -> None:
    """Write a row for each model, batch and GPU%; which batches are left out is told on stderr.

    Raises InvalidInputError where a file cannot be read, two are of one name, or nothing is known of the
    product.
    """
    _check_names(arguments.kernels)
    rows = list(_rows(arguments.kernels, arguments.product))
    if arguments.output == "json":
        write_json(rows, out)
        return
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _check_names(paths: Sequence[Path]) -> None:
    by_model: dict[str, Path] = {}
    for path in paths:
        if path.stem in by_model:
            raise InvalidInputError(f"{by_model[path.stem]} and {path}: both are of a model {path.stem}")
        by_model[path.stem] = path


def _rows(paths: Sequence[Path], product_name: str) -> Iterator[dict[str, Any]]:
    product = gpu_product(product_name)
    for path in paths:
        for point in _points(path, product):
            values = (path.stem, product.name, point.batch, point.gpu_percent, round(point.latency_ms, 3))
            yield dict(zip(_COLUMNS, values, strict=True))


def _points(path: Path, product: GpuProduct) -> list[Point]:
    """Those of the batches that end, on the least GPU% too, within what a profile may say."""
    most_ms = LATENCY_MS[1]
    points = predicted_surface(_kernels(path), product, TORCHSCRIPT, GPU_PERCENTS, _BATCHES).points
    too_long = {point.batch for point in points if point.latency_ms > most_ms}
    if too_long == set(_BATCHES):
        raise InvalidInputError(f"{path}: even one item is predicted to take more than {most_ms:g} ms")
    if too_long:
        sys.stderr.write(
            f"kneescale: {path}: batches of {min(too_long)} and more are left out, as some are predicted to "
            f"take more than {most_ms:g} ms\n"
        )
    return [point for point in points if point.batch not in too_long]


def _kernels(path: Path) -> list[KernelWork]:
    entries = read_json(path)
    if not isinstance(entries, list) or not entries:
        raise InvalidInputError(f"{path}: should list a model's kernels")
    return [_kernel(entry, f"{path}: kernel {index}") for index, entry in enumerate(entries)]


def _kernel(entry: object, where: str) -> KernelWork:
    if not isinstance(entry, Mapping) or entry.keys() != set(_FIELDS):
        raise InvalidInputError(f"{where} should have {', '.join(_FIELDS)} and nothing else")
    for name, value in entry.items():
        if type(value) not in (int, float):
            raise InvalidInputError(f"{where}: {name} must be a number, not {value!r}")
    try:
        return KernelWork(**entry)
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {error}") from error
