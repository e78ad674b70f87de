"""Scenario files: YAML that names models, their SLOs and rates, GPUs, and where the latency surfaces are."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from kneescale.cli.csv_rows import Row, rows
from kneescale.cli.limits import RATE_RPS, SLO_MS
from kneescale.cli.profiles import SHIPPED, read_profiles, shipped_profiles
from kneescale.cli.text_files import open_text
from kneescale.cli.yaml_values import Value, read_yaml
from kneescale.core.errors import InfeasibleError, InvalidInputError
from kneescale.core.surfaces.gpu_products import datasheet_gib, has_datasheet
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import NS_PER_S
from kneescale.sim.scenario import (
    Arrivals,
    Bursty,
    Poisson,
    Scenario,
    ScenarioGpu,
    ScenarioModel,
    Shaped,
    Trace,
    Uniform,
)
from kneescale.sim.shapes import SHAPES

_PATTERNS: Mapping[str, Arrivals] = {
    "uniform": Uniform(),
    "poisson": Poisson(),
    "bursty": Bursty(),
    **{name: Shaped(shape) for name, shape in SHAPES.items()},
}
_TRACE_COLUMNS = ("time_s", "model")

#: Some thirty years: an int64 holds it in ns. Times since 1970 are refused, as a simulation starts at 0.
_MAX_TIME_S = 1e9

#: More than any GPU and any fleet has.
_MEMORY_GIB = (0.001, 100_000)
_MAX_WEIGHT = 1_000_000
_INTERFERENCE = (1, 10)
_MAX_GPUS = 1000

#: The product of profiles that do not say which one they are of.
UNNAMED = ""

#: The surfaces of one profile by GPU product.
_ByProduct = dict[str, LatencySurface]
#: What goes by one name, each with its product: a product twice is a fault only where that name is asked for.
_ByName = dict[str, list[tuple[str, LatencySurface]]]


def read_scenario(path: Path, product: str | None = None) -> Scenario:
    """The scenario in a file; what it names is relative to it.

    Its GPUs are of `product` where it does not say of which of several they are. Rates that a trace makes
    useless are told on stderr. Raises InvalidInputError, naming the file and the line, on what is wrong with
    it or with what it names.
    """
    with open_text(path) as file:
        document = read_yaml(path, file)
    fields = document.fields(("profiles", "models"), ("gpus", "arrivals", "interference"))
    profiles = _profiles(fields["profiles"])
    models = [
        item.fields(("name", "profile", "slo_ms"), ("rate", "weight", "memory_gib"))
        for item in fields["models"].items()
    ]
    names = _names(models)
    interference = fields["interference"].number(*_INTERFERENCE) if "interference" in fields else 1.0
    surfaces = [_surfaces(of_model["profile"], profiles, interference) for of_model in models]
    gpus = _gpus(fields.get("gpus"), document, surfaces, product)
    arrivals = _arrivals(fields["arrivals"], names) if "arrivals" in fields else Poisson()
    if isinstance(arrivals, Trace) and any("rate" in of_model for of_model in models):
        sys.stderr.write(f"kneescale: {path}: the rates are the trace's, not those given with the models\n")
    return Scenario(
        tuple(
            _model(of_model, on_products, gpus, arrivals)
            for of_model, on_products in zip(models, surfaces, strict=True)
        ),
        gpus,
        arrivals,
    )


@contextmanager
def faults_of(path: Path) -> Iterator[None]:
    """What cannot be done with a scenario is said with its file."""
    try:
        yield
    except (InfeasibleError, InvalidInputError) as error:
        raise type(error)(f"{path}: {error}") from error


@contextmanager
def _named_by(value: Value) -> Iterator[None]:
    """A file that cannot be opened is a fault of what names it; what is wrong in it has its own place."""
    try:
        yield
    except InvalidInputError as error:
        if isinstance(error.__cause__, OSError):
            raise value.fault(f"cannot be read: {error}") from error
        raise


def no_surface(product: str, surfaces: Iterable[str]) -> str:
    """What is wrong with a model that has no surface on that product, but on those; and a way out."""
    have = ", ".join(sorted(filter(None, surfaces)))
    if not have:
        return f"has no surface on {product}: its profile has no product column"
    way_out = ", or see `kneescale predict --help`" if has_datasheet(product) else ""
    return f"has no surface on {product}, only on {have}: measure it{way_out}"


def _profiles(value: Value) -> _ByName:
    name = value.text()
    if name == SHIPPED:
        read = shipped_profiles()
    else:
        with _named_by(value):
            read = read_profiles(value.path.parent / name)
    profiles: _ByName = {}
    for profile in read:
        surface = LatencySurface.from_points(profile.points)
        for known_as in {profile.model, profile.uri or profile.model}:
            profiles.setdefault(known_as, []).append((profile.product, surface))
    return profiles


def _names(entries: Iterable[Mapping[str, Value]]) -> list[str]:
    names: list[str] = []
    for entry in entries:
        name = entry["name"].text()
        if name in names:
            raise entry["name"].fault(f"{name!r} is given twice")
        names.append(name)
    return names


def _surfaces(profile: Value, profiles: _ByName, interference: float) -> _ByProduct:
    name = profile.text()
    if name not in profiles:
        raise profile.fault(f"{name!r} is not among the profiles: {', '.join(sorted(profiles))}")
    surfaces = {product: surface.beside_others(interference) for product, surface in profiles[name]}
    if len(surfaces) < len(profiles[name]):
        raise profile.fault(
            f"{name!r} is more than one profile on the same product: use metadata.name, of one namespace"
        )
    return surfaces


def _gpus(
    value: Value | None, document: Value, surfaces: Sequence[_ByProduct], product: str | None
) -> tuple[ScenarioGpu, ...]:
    """The GPUs of a list; or so many, by default one, of the product that the profiles are of."""
    if value and value.is_list:
        entries = [item.fields(("name", "product"), ("memory_gib",)) for item in value.items()]
        return tuple(map(_gpu, _names(entries), entries))
    number = value.whole(1, _MAX_GPUS) if value else 1
    place = value or Value(document.path, "gpus", document.node)
    products = sorted(set[str].intersection(*map(set, surfaces)))
    if not products:
        raise place.fault("cannot be of one product: none has a profile of every model")
    if product in products:
        products = [product]
    if len(products) > 1:
        raise place.fault(f"must be a list of name and product: there are profiles on {', '.join(products)}")
    memory_gib = datasheet_gib(products[0])
    return tuple(ScenarioGpu(f"gpu{index}", products[0], memory_gib) for index in range(number))


def _gpu(name: str, fields: Mapping[str, Value]) -> ScenarioGpu:
    product = fields["product"].text()
    return ScenarioGpu(name, product, _memory_gib(fields, datasheet_gib(product)))


def _memory_gib(fields: Mapping[str, Value], missing: float) -> float:
    return fields["memory_gib"].number(*_MEMORY_GIB) if "memory_gib" in fields else missing


def _model(
    fields: Mapping[str, Value], surfaces: _ByProduct, gpus: Sequence[ScenarioGpu], arrivals: Arrivals
) -> ScenarioModel:
    name = fields["name"].text()
    products = {gpu.product for gpu in gpus}
    if surfaces.keys() == {UNNAMED} and len(products) == 1:
        surfaces = dict.fromkeys(products, surfaces[UNNAMED])
    for product in sorted(products - surfaces.keys()):
        raise fields["profile"].fault(no_surface(product, surfaces))
    return ScenarioModel(
        name=name,
        slo_ms=fields["slo_ms"].number(*SLO_MS),
        rate_rps=_rate_rps(fields, arrivals),
        weight=fields["weight"].whole(1, _MAX_WEIGHT) if "weight" in fields else 1,
        surface=surfaces[gpus[0].product],
        surfaces=surfaces,
        memory_gib=_memory_gib(fields, 0.0),
    )


def _rate_rps(fields: Mapping[str, Value], arrivals: Arrivals) -> float:
    """The rate given, or the mean of the trace."""
    name = fields["name"]
    if not isinstance(arrivals, Trace):
        if "rate" not in fields:
            raise name.fault(f"{name.text()!r} needs a rate")
        return fields["rate"].number(*RATE_RPS)
    if name.text() not in arrivals.times_ns:
        raise name.fault(f"{name.text()!r} has no request in the trace: leave it out")
    rate_rps = len(arrivals.times_ns[name.text()]) * NS_PER_S / arrivals.ends_ns
    lowest, highest = RATE_RPS
    if not lowest <= rate_rps <= highest:
        raise name.fault(
            f"{name.text()!r} has {rate_rps:g} requests/s in the trace, not {lowest:g} to {highest:g}"
        )
    return rate_rps


def _arrivals(value: Value, names: Sequence[str]) -> Arrivals:
    if value.is_mapping:
        trace = value.fields(("trace",))["trace"]
        with _named_by(trace):
            return _trace(trace.path.parent / trace.text(), names)
    name = value.text()
    if name not in _PATTERNS:
        raise value.fault(f"must be {', '.join(_PATTERNS)} or a mapping with trace, not {name!r}")
    return _PATTERNS[name]


def _trace(path: Path, names: Sequence[str]) -> Trace:
    times_ns: dict[str, list[int]] = {}
    with open_text(path) as file:
        for row in rows(path, file, _TRACE_COLUMNS):
            if row.text("model") not in names:
                raise row.fault(f"model {row.text('model')!r} is not in the scenario")
            times_ns.setdefault(row.text("model"), []).append(_time_ns(row))
    if not times_ns:
        raise InvalidInputError(f"{path}: holds no request")
    trace = Trace({name: np.sort(np.array(times, dtype=np.int64)) for name, times in times_ns.items()})
    if not trace.ends_ns:
        raise InvalidInputError(f"{path}: all requests come at 0 s: a trace needs a length")
    return trace


def _time_ns(row: Row) -> int:
    return round(row.number("time_s", 0, _MAX_TIME_S) * NS_PER_S)
