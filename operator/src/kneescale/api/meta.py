"""What every Kubernetes object carries: its names, uid, times and owners."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

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
    deleting: bool = False
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    owners: tuple[Owner, ...] = ()
    #: Field managers that applied the object itself, not just a part of it like its status.
    writers: frozenset[str] = frozenset()

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return self.namespace, self.name


def parse_metadata(obj: Mapping[str, Any]) -> Metadata:
    """The metadata of any Kubernetes object.

    Raises InvalidInputError when it has no name.
    """
    meta = obj.get("metadata") or {}
    if not meta.get("name"):
        raise InvalidInputError("metadata.name is missing")
    return Metadata(
        name=meta["name"],
        namespace=meta.get("namespace", ""),
        uid=meta.get("uid", ""),
        generation=meta.get("generation", 0),
        created_at=meta.get("creationTimestamp") or "",
        deleting=bool(meta.get("deletionTimestamp")),
        labels=meta.get("labels") or {},
        annotations=meta.get("annotations") or {},
        owners=tuple(
            Owner(owner["apiVersion"], owner["kind"], owner["name"], owner["uid"])
            for owner in meta.get("ownerReferences") or ()
        ),
        writers=frozenset(
            entry["manager"]
            for entry in meta.get("managedFields") or ()
            if entry["operation"] == "Apply" and not entry.get("subresource")
        ),
    )
