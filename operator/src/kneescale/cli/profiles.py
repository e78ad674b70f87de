"""Files of latency surfaces: the CSV that profiling tools write, and ModelProfile resources in YAML."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import yaml

from kneescale.api.model_profile import KIND, parse_model_profile
from kneescale.cli.csv_rows import Row, rows
from kneescale.cli.text_files import open_text
from kneescale.cli.yaml_values import yaml_faults
from kneescale.core.errors import InvalidInputError
from kneescale.core.surfaces.surface import Point
from kneescale.core.units import US_PER_MS, WHOLE_GPU_PERCENT

#: What a measurement can be: more than one ever was, less than what the planner's sums bear.
_MAX_BATCH = 1024
_MIN_LATENCY_MS, _MAX_LATENCY_MS = 0.001, 600_000

_COLUMNS = ("model", "batch", "gpu_percent", "latency_ms")


@dataclass(frozen=True, slots=True)
class Profile:
    """The points measured of one model on one GPU product, which a CSV file need not name."""

    model: str
    product: str
    points: tuple[Point, ...]

    @property
    def title(self) -> str:
        """Which one it is, in words."""
        return f"{self.model} on {self.product}" if self.product else self.model


def read_profiles(path: Path) -> list[Profile]:
    """The profiles in a file: `.yaml` and `.yml` hold ModelProfile resources, all else is CSV.

    Raises InvalidInputError, naming the file and the line, on what it cannot read.
    """
    read = _read_yaml if path.suffix in {".yaml", ".yml"} else _read_csv
    with open_text(path) as file:
        profiles = read(path, file)
    if not profiles:
        raise InvalidInputError(f"{path}: holds no profile")
    return profiles


def _read_csv(path: Path, file: TextIO) -> list[Profile]:
    points: dict[tuple[str, str], dict[tuple[int, int], Point]] = {}
    for row in rows(path, file, _COLUMNS):
        known = points.setdefault((row.text("model"), row.optional_text("product")), {})
        point = _csv_point(row)
        place = point.gpu_percent, point.batch
        if place in known:
            raise row.fault(f"GPU% {point.gpu_percent} with batch {point.batch} is given twice")
        known[place] = point
    return [Profile(*key, tuple(of_model.values())) for key, of_model in points.items()]


def _csv_point(row: Row) -> Point:
    return Point(
        row.whole("gpu_percent", 1, WHOLE_GPU_PERCENT),
        row.whole("batch", 1, _MAX_BATCH),
        row.number("latency_ms", _MIN_LATENCY_MS, _MAX_LATENCY_MS),
    )


def _read_yaml(path: Path, file: TextIO) -> list[Profile]:
    with yaml_faults(path):
        return [_model_profile(path, line, resource) for line, resource in _documents(file)]


def _documents(file: TextIO) -> Iterator[tuple[int, object]]:
    """Each YAML document with the line that it starts on; empty ones are skipped."""
    loader = yaml.SafeLoader(file)
    while loader.check_node() and (node := loader.get_node()):
        resource = loader.construct_document(node)
        if resource is not None:
            yield node.start_mark.line + 1, resource


def _model_profile(path: Path, line: int, resource: object) -> Profile:
    if not isinstance(resource, Mapping) or resource.get("kind") != KIND:
        raise InvalidInputError(f"{path}:{line}: is not a {KIND}")
    try:
        profile = parse_model_profile(resource)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}:{line}: {error}") from error
    points = (
        Point(point.gpu_percent, point.batch, point.latency_microseconds / US_PER_MS)
        for point in profile.spec.points
    )
    return Profile(profile.metadata.name, profile.spec.product_name, tuple(points))
