"""What every Kubernetes object carries: its names, uid, times and owners."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any

from kneescale.api.codec import DateTime, JsonName, decode
from kneescale.core.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Owner:
    """An entry of metadata.ownerReferences: the owned object is deleted with its last owner."""

    api_version: str
    kind: str
    name: str
    uid: str

    def render(self) -> dict[str, Any]:
        """The entry as JSON."""
        return {"apiVersion": self.api_version, "kind": self.kind, "name": self.name, "uid": self.uid}

    def render_controller(self) -> dict[str, Any]:
        """The entry of an owner that makes the object anew when it is gone."""
        return {**self.render(), "controller": True}


@dataclass(frozen=True, slots=True)
class Metadata:
    """The parts of metadata that Kneescale reads; times are RFC 3339 strings, empty when absent."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    created_at: str = ""
    #: When it should be gone, of what is being deleted; of a pod its time to end is over then.
    gone_at: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    owners: tuple[Owner, ...] = ()
    #: Field managers that applied the object itself, not just a part of it like its status.
    writers: frozenset[str] = frozenset()
    #: Field managers by the field of the spec that they wrote, or a part of it.
    spec_writers: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def deleting(self) -> bool:
        """Whether somebody deleted it, and it has yet to go."""
        return bool(self.gone_at)

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return self.namespace, self.name


def full_name(key: tuple[str, str]) -> str:
    """The namespace and the name, for people and where one string is a key."""
    return "/".join(key)


@dataclass(frozen=True, slots=True)
class _OwnedField:
    """A field with an owner; which parts of it are owned does not matter here."""


@dataclass(frozen=True, slots=True)
class _OwnedFields:
    """The fields that a writer owns, of which each is called f:NAME."""

    spec: Annotated[Mapping[str, _OwnedField], JsonName("f:spec")] = field(
        default_factory=lambda: MappingProxyType({})
    )


@dataclass(frozen=True, slots=True)
class _Writer:
    """An entry of metadata.managedFields."""

    manager: str = ""
    operation: str = ""
    subresource: str = ""
    fields_v1: _OwnedFields = _OwnedFields()


@dataclass(frozen=True, slots=True)
class _ObjectMeta:
    """Metadata as the API server gives it."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    creation_timestamp: Annotated[str, DateTime()] = ""
    deletion_timestamp: Annotated[str, DateTime()] = ""
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    owner_references: tuple[Owner, ...] = ()
    managed_fields: tuple[_Writer, ...] = ()


def parse_metadata(obj: Mapping[str, Any]) -> Metadata:
    """The metadata of any Kubernetes object.

    Raises InvalidInputError when it has no name, or is not of the shape that all metadata has.
    """
    meta = decode(_ObjectMeta, obj.get("metadata") or {}, "metadata")
    if not meta.name:
        raise InvalidInputError("metadata.name is missing")
    return Metadata(
        name=meta.name,
        namespace=meta.namespace,
        uid=meta.uid,
        generation=meta.generation,
        created_at=meta.creation_timestamp,
        gone_at=meta.deletion_timestamp,
        labels=meta.labels,
        annotations=meta.annotations,
        owners=meta.owner_references,
        writers=frozenset(
            writer.manager
            for writer in meta.managed_fields
            if writer.operation == "Apply" and not writer.subresource
        ),
        spec_writers=_spec_writers(meta.managed_fields),
    )


def _spec_writers(writers: Iterable[_Writer]) -> Mapping[str, frozenset[str]]:
    managers: defaultdict[str, set[str]] = defaultdict(set)
    for writer in writers:
        for name in writer.fields_v1.spec:
            managers[name.removeprefix("f:")].add(writer.manager)
    return {name: frozenset(found) for name, found in managers.items()}
