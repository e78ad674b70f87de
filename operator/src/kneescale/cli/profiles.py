"""Files of latency surfaces: the CSV that profiling tools write, and ModelProfile resources in YAML."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import yaml

from kneescale.api.model_profile import KIND, parse_model_profile
from kneescale.api.names import API_VERSION
from kneescale.cli.csv_rows import Row, rows
from kneescale.cli.text_files import open_text
from kneescale.cli.yaml_values import yaml_loader
from kneescale.core.errors import InvalidInputError
from kneescale.core.surfaces.surface import Point
from kneescale.core.units import PERCENT, US_PER_MS, WHOLE_GPU_PERCENT
from kneescale.plan import profiles as operators

#: What a measurement can be: more than one ever was, less than what the planner's sums bear.
_MAX_BATCH = 1024
_MIN_LATENCY_MS, _MAX_LATENCY_MS = 0.001, 600_000

_COLUMNS = ("model", "batch", "gpu_percent", "latency_ms")

#: What kubectl writes of several resources, and the API server.
_LISTS = ("List", f"{KIND}List")


@dataclass(frozen=True, slots=True)
class Profile:
    """The points, at least one and none twice, of one model on one GPU product.

    A CSV file need not name the product; `uri` is what a ModelProfile says of the model, whose own name is
    that of one product only. The points of a ModelProfile are as slow as the operator takes them to be, and
    `slower` says why.
    """

    model: str
    product: str
    points: tuple[Point, ...]
    uri: str | None = None
    slower: str | None = None

    @property
    def title(self) -> str:
        """Which one it is, in words."""
        return f"{self.model} on {self.product}" if self.product else self.model


def read_profiles(path: Path) -> list[Profile]:
    """The profiles in a file: `.yaml` and `.yml` hold ModelProfile resources, all else is CSV.

    Where batches take longer than a ModelProfile's points say, that is told on stderr. Raises
    InvalidInputError, naming the file and the line, on what it cannot read.
    """
    read = _read_yaml if path.suffix in {".yaml", ".yml"} else _read_csv
    with open_text(path) as file:
        profiles = read(path, file)
    if not profiles:
        raise InvalidInputError(f"{path}: holds no profile")
    for profile in profiles:
        if profile.slower:
            sys.stderr.write(f"kneescale: {path}: {profile.title}: {profile.slower}\n")
    return profiles


def _read_csv(path: Path, file: StringIO) -> list[Profile]:
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


def _read_yaml(path: Path, file: StringIO) -> list[Profile]:
    profiles: dict[tuple[str, str], Profile] = {}
    for line, resource in _resources(path, file):
        try:
            profile = _model_profile(resource)
            if (profile.model, profile.product) in profiles:
                raise InvalidInputError(f"{profile.title} is given twice")  # noqa: TRY301
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}:{line}: {error}") from error
        profiles[profile.model, profile.product] = profile
    return list(profiles.values())


def _resources(path: Path, file: StringIO) -> Iterator[tuple[int, object]]:
    """Each resource with the line that it starts on; empty documents are skipped."""
    with yaml_loader(path, file) as loader:
        while loader.check_node() and (document := loader.get_node()):
            for node in _members(document):
                if (resource := loader.construct_document(node)) is not None:
                    yield node.start_mark.line + 1, resource


def _members(document: yaml.Node) -> Sequence[yaml.Node]:
    """The resources in a list of kubectl; any other document is one."""
    fields = {
        key.value: value
        for key, value in (document.value if isinstance(document, yaml.MappingNode) else ())
        if isinstance(key, yaml.ScalarNode)
    }
    kind, items = fields.get("kind"), fields.get("items")
    if kind and kind.value in _LISTS and isinstance(items, yaml.SequenceNode):
        members: Sequence[yaml.Node] = items.value
        return members
    return [document]


def _model_profile(resource: object) -> Profile:
    if not isinstance(resource, Mapping) or resource.get("kind") != KIND:
        raise InvalidInputError(f"is not a {KIND}")
    if resource.get("apiVersion") != API_VERSION:
        raise InvalidInputError(f"apiVersion must be {API_VERSION}, not {resource.get('apiVersion')!r}")
    profile = parse_model_profile(resource)
    name, spec = profile.metadata.name, profile.spec
    if not spec.points:
        raise InvalidInputError(f"{name} is {spec.source}: nothing is measured yet")
    times, why = _slowness(operators.read_profile(profile))
    points = (
        Point(point.gpu_percent, point.batch, times * point.latency_microseconds / US_PER_MS)
        for point in spec.points
    )
    return Profile(name, spec.product_name, tuple(points), spec.model_uri, why)


def _slowness(known: operators.Profile) -> tuple[float, str | None]:
    """How many times as long as its points say batches take, for all that the operator knows; and why."""
    error_percent, ratio = known.predicted_to_percent, known.slowness
    whys = []
    if error_percent:
        whys.append(f"{error_percent} % longer, for a prediction may be off by that")
    if ratio != 1:
        whys.append(f"{ratio:g} times as long, as workers measure of late")
    times = ratio * (1 + (error_percent or 0) / PERCENT)
    return times, f"batches are taken to be {', and '.join(whys)}" if whys else None
