"""Files of latency surfaces: the CSV that profiling tools write, and ModelProfile resources in YAML."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import yaml

from kneescale.api.model_profile import KIND, parse_model_profile
from kneescale.core.errors import InvalidInputError
from kneescale.core.surface import Point

_COLUMNS = ("model", "batch", "gpu_percent", "latency_ms")
_US_PER_MS = 1000


@dataclass(frozen=True, slots=True)
class Profile:
    """The points measured of one model."""

    model: str
    points: tuple[Point, ...]


def read_profiles(path: Path) -> list[Profile]:
    """The profiles in a file: `.yaml` and `.yml` hold ModelProfile resources, all else is CSV.

    Raises InvalidInputError, naming the file and the line, on what it cannot read.
    """
    read = _read_yaml if path.suffix in {".yaml", ".yml"} else _read_csv
    try:
        with path.open(newline="", encoding="utf-8") as file:
            profiles = read(path, file)
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path}: is not UTF-8 text") from error
    if not profiles:
        raise InvalidInputError(f"{path}: holds no profile")
    return profiles


def _read_csv(path: Path, file: TextIO) -> list[Profile]:
    reader = csv.DictReader(file)
    missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise InvalidInputError(f"{path}:1: has no column {missing[0]}; needs {', '.join(_COLUMNS)}")
    points: dict[str, list[Point]] = {}
    try:
        for row in reader:
            points.setdefault(_text(row, "model"), []).append(_csv_point(row))
    except (InvalidInputError, csv.Error) as error:
        raise InvalidInputError(f"{path}:{reader.line_num}: {error}") from error
    return [Profile(model, tuple(of_model)) for model, of_model in points.items()]


def _csv_point(row: dict[str, str | None]) -> Point:
    return Point(
        gpu_percent=_integer(row, "gpu_percent"),
        batch=_integer(row, "batch"),
        latency_ms=_number(row, "latency_ms"),
    )


def _text(row: dict[str, str | None], column: str) -> str:
    text = (row[column] or "").strip()
    if not text:
        raise InvalidInputError(f"{column} is empty")
    return text


def _integer(row: dict[str, str | None], column: str) -> int:
    text = _text(row, column)
    try:
        return int(text)
    except ValueError:
        raise InvalidInputError(f"{column} must be a whole number, not {text!r}") from None


def _number(row: dict[str, str | None], column: str) -> float:
    text = _text(row, column)
    try:
        return float(text)
    except ValueError:
        raise InvalidInputError(f"{column} must be a number, not {text!r}") from None


def _read_yaml(path: Path, file: TextIO) -> list[Profile]:
    try:
        return [_model_profile(path, line, resource) for line, resource in _documents(file)]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidInputError(f"{path}:{line}: is not YAML: {error.problem}") from error


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
        Point(point.gpu_percent, point.batch, point.latency_microseconds / _US_PER_MS)
        for point in profile.spec.points
    )
    return Profile(profile.metadata.name, tuple(points))
