"""Frozen dataclasses to and from the JSON objects of the Kubernetes API.

A resource is written once, as dataclasses whose annotations carry the bounds:
`gpu_percent: Annotated[int, Range(1, 100)]`. `decode` checks them, `encode` is its inverse, and the
contract test derives the CRD schemas from them.
"""

import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from datetime import MAXYEAR, MINYEAR, datetime
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from kneescale.core.errors import InvalidInputError

T = TypeVar("T")
#: Any value that JSON can hold, and any type annotation: neither has a narrower type in Python.
Json: TypeAlias = Any
Annotation: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Range:
    """An integer from `minimum` to `maximum`, both included; `None` leaves the upper end open."""

    minimum: int
    maximum: int | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """A string of bounded length, in which `pattern` is found where one is given."""

    max_length: int
    min_length: int = 0
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Items:
    """A list of bounded length; with `map_keys` a list-map, with `unique` a set, else replaced as a whole."""

    max_items: int
    min_items: int = 0
    map_keys: tuple[str, ...] = ()
    unique: bool = False


@dataclass(frozen=True, slots=True)
class JsonName:
    """The field's name in JSON where plain camelCase would be wrong (`modelURI`)."""

    name: str


@dataclass(frozen=True, slots=True)
class DateTime:
    """A string that holds an RFC 3339 time."""


Marker = Range | Text | Items | JsonName | DateTime


@dataclass(frozen=True, slots=True)
class Attribute:
    """One field of a resource dataclass as JSON sees it."""

    field: Field[Any]
    json_name: str
    type: Annotation
    markers: tuple[Marker, ...]
    nullable: bool

    @property
    def required(self) -> bool:
        """Whether the field has no default."""
        return self.field.default is MISSING and self.field.default_factory is MISSING

    @property
    def default(self) -> object:
        """The value of an absent field; only for one that is not required."""
        if self.field.default_factory is not MISSING:
            return self.field.default_factory()
        return self.field.default


@cache
def attributes(kind: type) -> tuple[Attribute, ...]:
    """The fields of a resource dataclass, in order, with their annotations taken apart."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple(_attribute(field, hints[field.name]) for field in fields(kind))


def split_annotation(annotation: Annotation) -> tuple[Annotation, tuple[Marker, ...], bool]:
    """An annotation as (bare type, markers, nullable)."""
    markers: tuple[Marker, ...] = ()
    nullable = False
    while True:
        origin: object = get_origin(annotation)
        if origin is Annotated:
            annotation, *found = get_args(annotation)
            markers += tuple(found)
        elif origin in (Union, types.UnionType):
            (annotation,) = (arg for arg in get_args(annotation) if arg is not types.NoneType)
            nullable = True
        else:
            return annotation, markers, nullable


def decode(kind: type[T], value: object, path: str) -> T:
    """`value`, a JSON object, as an instance of the dataclass `kind`; unknown keys are ignored.

    Raises InvalidInputError naming the offending field below `path`.
    """
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{path} must be an object, not {value!r}")
    return kind(**dict(_decode_fields(kind, value, path)))


def encode(value: object) -> Json:
    """A resource dataclass as JSON: None is left out, everything else is written."""
    if is_dataclass(value) and not isinstance(value, type):
        named = ((item.json_name, getattr(value, item.field.name)) for item in attributes(type(value)))
        return {name: encode(member) for name, member in named if member is not None}
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple):
        return [encode(member) for member in value]
    return value


def render_status(status: object) -> dict[str, Any]:
    """The JSON below `.status`, of the dataclass of a resource's status."""
    rendered: dict[str, Any] = encode(status)
    return rendered


def _attribute(field: Field[Any], annotation: Annotation) -> Attribute:
    bare, markers, nullable = split_annotation(annotation)
    named = [marker.name for marker in markers if isinstance(marker, JsonName)]
    return Attribute(field, named[0] if named else _camel_case(field.name), bare, markers, nullable)


def _camel_case(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


def _decode_fields(kind: type, value: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for item in attributes(kind):
        member = value.get(item.json_name)
        if member is not None:
            yield item.field.name, _decode(item.type, item.markers, member, f"{path}.{item.json_name}")
        elif item.required:
            raise InvalidInputError(f"{path}.{item.json_name} is missing")


def _decode(kind: Annotation, markers: tuple[Marker, ...], value: object, path: str) -> object:
    origin: object = get_origin(kind)
    if origin is tuple:
        return _decode_list(get_args(kind)[0], markers, value, path)
    if origin is Mapping:
        return _decode_map(get_args(kind)[1], value, path)
    if is_dataclass(kind):
        return decode(cast(type, kind), value, path)
    if issubclass(kind, StrEnum):
        return _decode_enum(kind, value, path)
    if type(value) is not kind:
        raise InvalidInputError(f"{path} must be of type {kind.__name__}, not {value!r}")
    for marker in markers:
        _check(marker, value, path)
    return value


def _decode_enum(kind: type[StrEnum], value: Json, path: str) -> StrEnum:
    try:
        return kind(value)
    except ValueError:
        raise InvalidInputError(f"{path} must be one of {', '.join(kind)}, not {value!r}") from None


def _decode_list(
    kind: Annotation, markers: tuple[Marker, ...], value: object, path: str
) -> tuple[object, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise InvalidInputError(f"{path} must be a list, not {value!r}")
    bare, item_markers, _ = split_annotation(kind)
    items = tuple(_decode(bare, item_markers, member, f"{path}[{i}]") for i, member in enumerate(value))
    for marker in markers:
        if isinstance(marker, Items):
            _check_items(marker, items, value, path)
    return items


def _decode_map(kind: Annotation, value: object, path: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{path} must be an object, not {value!r}")
    bare, markers, _ = split_annotation(kind)
    return {key: _decode(bare, markers, member, f"{path}.{key}") for key, member in value.items()}


def _check_items(marker: Items, items: tuple[object, ...], raw: Sequence[Json], path: str) -> None:
    if not marker.min_items <= len(items) <= marker.max_items:
        raise InvalidInputError(
            f"{path} must have {marker.min_items} to {marker.max_items} items, not {len(items)}"
        )
    keys: list[tuple[object, ...]] = []
    if marker.map_keys:
        keys = [tuple(member.get(key) for key in marker.map_keys) for member in raw]
    elif marker.unique:
        keys = [(member,) for member in items]
    twice = next((key for i, key in enumerate(keys) if key in keys[:i]), None)
    if twice is not None:
        raise InvalidInputError(f"{path} holds {', '.join(map(str, twice))} twice")


def _check(marker: Marker, value: Json, path: str) -> None:
    match marker:
        case Range(minimum, None) if value < minimum:
            raise InvalidInputError(f"{path} must be {minimum} or more, not {value}")
        case Range(minimum, int(maximum)) if not minimum <= value <= maximum:
            raise InvalidInputError(f"{path} must be between {minimum} and {maximum}, not {value}")
        case Text(longest, shortest) if not shortest <= len(value) <= longest:
            raise InvalidInputError(f"{path} must have {shortest} to {longest} characters, not {len(value)}")
        case Text(pattern=str(pattern)) if re.search(pattern, value) is None:
            raise InvalidInputError(f"{path} must match {pattern}, not {value!r}")
        case DateTime() if not _is_time(value):
            raise InvalidInputError(f"{path} must be an RFC 3339 time, not {value!r}")
        case _:
            pass


def _is_time(text: str) -> bool:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return False
    # At the ends, no zone could be changed and no delay be added.
    return time.tzinfo is not None and MINYEAR < time.year < MAXYEAR
