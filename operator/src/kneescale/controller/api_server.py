"""The API server, as the operator uses it; the one module that knows the Kubernetes client library."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config

from kneescale.api.names import FIELD_MANAGER
from kneescale.controller.resources import Kind, Object, kind_of
from kneescale.core.errors import InvalidInputError, KneescaleError

REQUEST_TIMEOUT_S = 10.0
#: Of a listing at a time: thousands of Nodes at once take as much memory as the operator has.
_PAGE_ITEMS = 250


class ApiError(KneescaleError):
    """The API server refused a request, or did not answer it: then `status` is None."""

    def __init__(self, status: int | None, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of a kind, as they were at `resource_version`."""

    items: tuple[Object, ...]
    resource_version: int


class ApiServer(Protocol):
    """What the operator asks of the API server. Every method raises ApiError, after some seconds at most."""

    async def list(self, kind: Kind) -> Listing:
        """Return the objects of a kind that its selectors let through."""

    async def get(self, manifest: Object) -> Object | None:
        """Return the object of that name as it is now, or None if there is none."""

    async def apply(self, manifest: Object, subresource: str = "", *, force: bool = True) -> Object:
        """Server-side apply; return the object as it is now.

        With `force` it takes over fields that others wrote, else it is refused then. It is refused as well
        where the manifest has a uid and the object another one.
        """

    async def delete(self, obj: Object, grace_s: int | None = None) -> None:
        """Delete this very object (by uid) and what it owns; one that is gone already is no error.

        A pod has `grace_s` to end, or as long as its spec says.
        """

    async def create(self, manifest: Object) -> None:
        """Create an object, named by the server where it says `generateName`."""


@asynccontextmanager
async def connect() -> AsyncIterator[ApiServer]:
    """Connect with the pod's service account, or else with the current kubeconfig context.

    Raises InvalidInputError when there is neither.
    """
    configuration: Any = kubernetes_client.Configuration()
    await _load_credentials(configuration)
    client: Any = kubernetes_client.ApiClient(configuration)
    try:
        yield HttpApiServer(client)
    finally:
        await client.close()


async def _load_credentials(configuration: Any) -> None:  # noqa: ANN401 - the client library is untyped
    try:
        kubernetes_config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except kubernetes_config.ConfigException:
        try:
            await kubernetes_config.load_kube_config(  # type: ignore[no-untyped-call]
                client_configuration=configuration
            )
        except kubernetes_config.ConfigException as error:
            raise InvalidInputError(f"no cluster: run in a pod or set KUBECONFIG ({error})") from error


class HttpApiServer:
    """ApiServer over the Kubernetes client library's connection."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - the client library is untyped
        self._client = client

    async def list(self, kind: Kind) -> Listing:
        """See ApiServer."""
        selected = [("labelSelector", kind.label_selector), ("fieldSelector", kind.field_selector)]
        header = {"apiVersion": kind.api_version, "kind": kind.name}  # a list leaves them out of its items
        items: list[Object] = []
        rest = ""
        while True:
            query = [*selected, ("limit", str(_PAGE_ITEMS)), ("continue", rest)]
            page = await self._request("GET", _path(kind), [(name, value) for name, value in query if value])
            items += (kind.shorten(header | item) for item in page["items"])
            rest = page["metadata"].get("continue", "")
            if not rest:
                return Listing(tuple(items), int(page["metadata"]["resourceVersion"]))

    async def get(self, manifest: Object) -> Object | None:
        """See ApiServer."""
        try:
            return await self._request("GET", _path_of(manifest))
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None

    async def apply(self, manifest: Object, subresource: str = "", *, force: bool = True) -> Object:
        """See ApiServer."""
        query = [("fieldManager", FIELD_MANAGER), ("force", str(force).lower())]
        path = _path_of(manifest, subresource)
        return await self._request("PATCH", path, query, manifest, "application/apply-patch+yaml")

    async def delete(self, obj: Object, grace_s: int | None = None) -> None:
        """See ApiServer."""
        uid = obj["metadata"]["uid"]
        options: Object = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        try:
            await self._request("DELETE", _path_of(obj), body=options)
        except ApiError as error:
            # A conflict says that another object has the name by now: this one is gone as well.
            if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                raise

    async def create(self, manifest: Object) -> None:
        """See ApiServer."""
        namespace = manifest["metadata"].get("namespace", "")
        query = [("fieldManager", FIELD_MANAGER)]
        await self._request("POST", _path(kind_of(manifest), namespace), query, manifest)

    async def _request(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        try:
            request = await self._client.param_serialize(
                method,
                path,
                query_params=list(query),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            response = await self._client.call_api(*request, _request_timeout=REQUEST_TIMEOUT_S)
            content = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise ApiError(None, f"the API server does not answer: {reason}") from error
        if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
            raise ApiError(response.status, _refusal(response.status, content))
        answer: Object = json.loads(content)
        return answer


def _path(kind: Kind, namespace: str = "") -> str:
    prefix = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.api_version}"
    return f"{prefix}/namespaces/{quote(namespace)}/{kind.plural}" if namespace else f"{prefix}/{kind.plural}"


def _path_of(obj: Object, subresource: str = "") -> str:
    meta = obj["metadata"]
    path = f"{_path(kind_of(obj), meta.get('namespace', ''))}/{quote(meta['name'])}"
    return f"{path}/{subresource}" if subresource else path


def _refusal(status: int, content: bytes) -> str:
    """Return the message of the Status object that comes with a refusal, else the HTTP status."""
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return f"the API server answered {status}"
