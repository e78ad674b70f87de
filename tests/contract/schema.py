"""The OpenAPI schema that a resource dataclass implies, without descriptions and CEL rules."""

from dataclasses import is_dataclass
from enum import StrEnum
from typing import Any, cast, get_args, get_origin

from kneescale.api.codec import (
    Annotation,
    DateTime,
    Items,
    JsonName,
    Marker,
    Range,
    Text,
    attributes,
    encode,
    split_annotation,
)

_SCALARS = {int: "integer", str: "string", bool: "boolean"}


def schema_of(kind: type) -> dict[str, Any]:
    """The schema of a resource dataclass."""
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    for item in attributes(kind):
        member = _schema(item.type, item.markers)
        if not item.required:
            member |= _default(item.default)
        schema["properties"][item.json_name] = member
    required = [item.json_name for item in attributes(kind) if item.required]
    return schema | ({"required": required} if required else {})


def _default(value: object) -> dict[str, Any]:
    """The keyword for a field's default; None and an empty list are simply absent."""
    if value in (None, ()):
        return {}
    rendered = encode(value)
    if isinstance(rendered, dict):
        rendered = {name: member for name, member in rendered.items() if member != []}
    return {"default": rendered}


def _schema(kind: Annotation, markers: tuple[Marker, ...]) -> dict[str, Any]:
    origin: object = get_origin(kind)
    if origin is tuple:
        item, item_markers, _ = split_annotation(get_args(kind)[0])
        schema = {"type": "array", "items": _schema(item, item_markers)}
    elif is_dataclass(kind):
        schema = schema_of(cast(type, kind))
    elif issubclass(kind, StrEnum):
        schema = {"type": "string", "enum": [member.value for member in kind]}
    else:
        schema = {"type": _SCALARS[kind]}
    for marker in markers:
        schema |= _keywords(marker)
    return schema


def _keywords(marker: Marker) -> dict[str, Any]:
    match marker:
        case Range(minimum, maximum):
            return _given(minimum=minimum, maximum=maximum)
        case Text(max_length, min_length, pattern):
            return _given(maxLength=max_length, minLength=min_length or None, pattern=pattern)
        case Items():
            return _list_keywords(marker)
        case DateTime():
            return {"format": "date-time"}
        case JsonName():
            return {}


def _given(**keywords: int | str | None) -> dict[str, Any]:
    return {name: value for name, value in keywords.items() if value is not None}


def _list_keywords(marker: Items) -> dict[str, Any]:
    keywords: dict[str, Any] = {"maxItems": marker.max_items}
    if marker.min_items:
        keywords["minItems"] = marker.min_items
    if marker.map_keys:
        return keywords | {
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": list(marker.map_keys),
        }
    return keywords | {"x-kubernetes-list-type": "set" if marker.unique else "atomic"}
