"""Files of latency surfaces: the CSV that profiling tools write, and ModelProfile resources in YAML."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import yaml

from kneescale.api.model_profile import KIND, ModelProfile, parse_model_profile
from kneescale.api.names import API_VERSION
from kneescale.api.surface import surface_of
from kneescale.cli.csv_rows import Row, rows
from kneescale.cli.limits import LATENCY_MS
from kneescale.cli.text_files import open_text
from kneescale.cli.yaml_values import yaml_loader
from kneescale.core.errors import InvalidInputError
from kneescale.core.surfaces.catalog import catalog
from kneescale.core.surfaces.surface import Point
from kneescale.core.units import PERCENT, WHOLE_GPU_PERCENT
from kneescale.plan import profiles as operators

#: What stands in place of a file for the figures that come with the product.
SHIPPED = "shipped"

#: More than any was measured with, less than what the planner's sums bear.
_MAX_BATCH = 1024

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


def shipped_profiles() -> list[Profile]:
    """The figures that come with the product."""
    return [Profile(model.name, model.product, model.surface().points) for model in catalog()]


def read_profiles(path: Path) -> list[Profile]:
    """The profiles in a file: `.yaml` and `.yml` hold ModelProfile resources, all else is CSV.

    A name may be there twice, in two namespaces. Where batches take longer than a ModelProfile's points say,
    and where it has none yet and is left out, that is told on stderr. Raises InvalidInputError, naming the
    file and the line, on what it cannot read.
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
        row.number("latency_ms", *LATENCY_MS),
    )


def _read_yaml(path: Path, file: StringIO) -> list[Profile]:
    profiles: dict[tuple[str, str], Profile] = {}
    left_out: list[str] = []
    for line, resource in _resources(path, file):
        try:
            read = _model_profile(resource)
            if read.spec.points:
                _add(profiles, read)
            else:
                left_out.append(f"{path}:{line}: {_nothing_measured(read)}")
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}:{line}: {error}") from error
    if left_out and not profiles:
        raise InvalidInputError(left_out[0])
    sys.stderr.writelines(f"kneescale: {what}, so it is left out\n" for what in left_out)
    return list(profiles.values())


def _add(profiles: dict[tuple[str, str], Profile], read: ModelProfile) -> None:
    """Add it by its namespace and what it is of."""
    profile = _profile(read)
    place = read.metadata.namespace, profile.title
    if place in profiles:
        raise InvalidInputError(f"{profile.title} is given twice")
    profiles[place] = profile


def _nothing_measured(read: ModelProfile) -> str:
    return f"{read.metadata.name} is {read.spec.source}: nothing is measured yet"


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


def _model_profile(resource: object) -> ModelProfile:
    if not isinstance(resource, Mapping) or resource.get("kind") != KIND:
        raise InvalidInputError(f"is not a {KIND} (a scenario is for bound, plan, simulate and capacity)")
    if resource.get("apiVersion") != API_VERSION:
        raise InvalidInputError(f"apiVersion must be {API_VERSION}, not {resource.get('apiVersion')!r}")
    return parse_model_profile(resource)


def _profile(profile: ModelProfile) -> Profile:
    """What is said of a model whose profile has points."""
    name, spec = profile.metadata.name, profile.spec
    times, why = _slowness(operators.read_profile(profile))
    points = surface_of(spec.points).times(times).points
    return Profile(name, spec.product_name, points, spec.model_uri, why)


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
