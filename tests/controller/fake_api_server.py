"""An API server in memory: records what it is asked, and refuses what a test tells it to."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from typing import Any

from kneescale.controller.api_server import ApiError, Listing
from kneescale.controller.observe import Key, key_of
from kneescale.controller.resources import Kind, Object, kind_of


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came in; `body` is what was sent."""

    verb: str
    kind: str
    name: str
    body: Object = field(compare=False, repr=False, default_factory=dict)


@dataclass(slots=True)
class Fault:
    """Makes matching requests fail, the next `times` of them."""

    matches: Callable[[Request], bool]
    error: ApiError
    times: int


class FakeApiServer:
    """The ApiServer protocol over dictionaries.

    Apply merges what is sent into what is there (lists are replaced); it knows no field managers, so that
    without force it makes objects only, no garbage collection and no admission.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.events: list[Object] = []
        #: How long each deleted object got to end, None where its spec says so.
        self.graces_s: list[int | None] = []
        self.faults: list[Fault] = []
        self._objects: dict[tuple[str, Key], Object] = {}
        self._versions = count(1)
        self._version = 0

    def seed(self, *objects: Object) -> None:
        """Put objects in place as if they had been there before."""
        for obj in objects:
            self._store(deepcopy(obj))

    def fail(self, matches: Callable[[Request], bool], error: ApiError, times: int) -> None:
        """Let the next `times` requests that match fail with `error`."""
        self.faults.append(Fault(matches, error, times))

    def find(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        """The stored object, or None."""
        return self._objects.get((kind.name, (namespace, name)))

    async def list(self, kind: Kind) -> Listing:
        """See ApiServer."""
        self._receive(Request("list", kind.name, ""))
        items = [obj for (name, _), obj in self._objects.items() if name == kind.name]
        return Listing(tuple(deepcopy(items)), self._version)

    async def get(self, manifest: Object) -> Object | None:
        """See ApiServer."""
        self._receive(_request("get", manifest))
        return deepcopy(self._objects.get(_place(manifest)))

    async def apply(self, manifest: Object, subresource: str = "", *, force: bool = True) -> Object:
        """See ApiServer."""
        self._receive(_request(f"apply {subresource}".strip(), manifest))
        found = self._objects.get(_place(manifest))
        if found is not None and not force:
            raise ApiError(HTTPStatus.CONFLICT, "others wrote the same fields")
        if manifest["metadata"].get("uid") not in (None, found and found["metadata"]["uid"]):
            raise ApiError(HTTPStatus.CONFLICT, "another object has this name")
        if subresource and found is None:
            raise ApiError(HTTPStatus.NOT_FOUND, f"{manifest['metadata']['name']} not found")
        if subresource:
            return deepcopy(self._store({**(found or {}), subresource: deepcopy(manifest[subresource])}))
        return deepcopy(self._store(_merged(found or {}, manifest)))

    async def delete(self, obj: Object, grace_s: int | None = None) -> None:
        """See ApiServer."""
        self._receive(_request("delete", obj))
        self.graces_s.append(grace_s)
        self._objects.pop(_place(obj), None)
        self._version = next(self._versions)

    async def create(self, manifest: Object) -> None:
        """See ApiServer."""
        self._receive(_request("create", manifest))
        self.events.append(deepcopy(manifest))

    def _receive(self, request: Request) -> None:
        self.requests.append(request)
        for fault in self.faults:
            if fault.times > 0 and fault.matches(request):
                fault.times -= 1
                raise fault.error

    def _store(self, obj: Object) -> Object:
        self._version = next(self._versions)
        uid = f"uid-{self._version}"
        obj["metadata"] = {"uid": uid} | obj["metadata"] | {"resourceVersion": str(self._version)}
        self._objects[_place(obj)] = obj
        return obj


def _request(verb: str, obj: Object) -> Request:
    meta = obj["metadata"]
    return Request(verb, obj["kind"], meta.get("name", meta.get("generateName")), deepcopy(obj))


def _place(obj: Object) -> tuple[str, Key]:
    return kind_of(obj).name, key_of(obj)


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> Object:
    both = {
        name: _merged(old[name], value) if isinstance(value, Mapping) and name in old else value
        for name, value in new.items()
    }
    return deepcopy({**old, **both})
