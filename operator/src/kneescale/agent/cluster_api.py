"""The API server, as far as the agent needs it; nothing else in the agent imports the client library."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

import urllib3
from kubernetes import client, config, watch

from kneescale.core.errors import KneescaleError

Manifest = Mapping[str, Any]

_RESOURCE_API = ("resource.k8s.io", "v1")
_KNEESCALE_API = ("kneescale.dev", "v1alpha1")
_TIMEOUT_S = (3.0, 10.0)
#: The server ends a watch after this long, so that a connection that died unseen is noticed.
_WATCH_TIMEOUT_S = 240
_MERGE_PATCH = "application/merge-patch+json"
_STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
_NOT_FOUND, _CONFLICT, _GONE = 404, 409, 410


class ClusterError(KneescaleError):
    """The API server could not be reached, or refused."""


class AwayError(ClusterError):
    """The API server could not be reached."""


class NotFoundError(ClusterError):
    """There is no such object."""


class ConflictError(ClusterError):
    """The object exists already, or changed since it was read."""


class ExpiredError(ClusterError):
    """The resource version is too old to watch from: list again."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change that a watch saw; `manifest` is the object after it, or as it last was where `deleted`."""

    manifest: Manifest
    deleted: bool


class ClusterApi(Protocol):
    """What the agent reads and writes; every method may raise ClusterError."""

    def get_node(self, name: str) -> Manifest:
        """The Node. Raises NotFoundError."""

    def patch_node_condition(self, name: str, condition: Manifest) -> None:
        """Set one condition in a Node's status; others stay. Raises NotFoundError."""

    def create_event(self, manifest: Manifest) -> None:
        """Create an Event (events.k8s.io/v1)."""

    def get_resource_claim(self, namespace: str, name: str) -> Manifest:
        """The ResourceClaim. Raises NotFoundError."""

    def list_resource_slices(self, node_name: str) -> list[Manifest]:
        """The ResourceSlices of a node, of every driver."""

    def create_resource_slice(self, manifest: Manifest) -> None:
        """Create a ResourceSlice. Raises ConflictError when it exists."""

    def replace_resource_slice(self, manifest: Manifest) -> None:
        """Replace a ResourceSlice. Raises ConflictError when it changed since it was read."""

    def delete_resource_slice(self, name: str) -> None:
        """Delete a ResourceSlice. Raises NotFoundError."""

    def list_gpu_schedules(self, node_name: str) -> tuple[list[Manifest], str]:
        """The GPUSchedules of a node, and the resource version to watch from."""

    def watch_gpu_schedules(self, node_name: str, resource_version: str) -> Iterator[WatchEvent]:
        """Changes since `resource_version`, until the server ends the watch. Raises ExpiredError."""

    def patch_gpu_schedule_status(self, name: str, status: Manifest) -> None:
        """Merge `status` into a GPUSchedule's status; lists are replaced. Raises NotFoundError."""


class KubernetesApi:
    """ClusterApi over the official client; objects stay plain mappings."""

    def __init__(self, kubeconfig: str) -> None:
        """Credentials from the file `kubeconfig`; when that is empty, those of the pod's service account.

        Raises ClusterError when there are none.
        """
        api_client = client.ApiClient(_configuration(kubeconfig))
        # CustomObjectsApi reaches any group by its path, built-in ones included.
        self._api = client.CustomObjectsApi(api_client)
        self._core = client.CoreV1Api(api_client)

    def get_node(self, name: str) -> Manifest:
        """See ClusterApi."""
        with _cluster_errors():
            node = self._core.read_node(name, _request_timeout=_TIMEOUT_S)
        return cast("Manifest", self._core.api_client.sanitize_for_serialization(node))

    def patch_node_condition(self, name: str, condition: Manifest) -> None:
        """See ClusterApi."""
        # Conditions of a Node merge by their type in this kind of patch alone.
        with _cluster_errors():
            self._core.patch_node_status(
                name,
                {"status": {"conditions": [dict(condition)]}},
                _content_type=_STRATEGIC_MERGE_PATCH,
                _request_timeout=_TIMEOUT_S,
            )

    def create_event(self, manifest: Manifest) -> None:
        """See ClusterApi."""
        with _cluster_errors():
            self._api.create_namespaced_custom_object(
                "events.k8s.io",
                "v1",
                manifest["metadata"]["namespace"],
                "events",
                dict(manifest),
                _request_timeout=_TIMEOUT_S,
            )

    def get_resource_claim(self, namespace: str, name: str) -> Manifest:
        """See ClusterApi."""
        with _cluster_errors():
            found = self._api.get_namespaced_custom_object(
                *_RESOURCE_API, namespace, "resourceclaims", name, _request_timeout=_TIMEOUT_S
            )
        return cast("Manifest", found)

    def list_resource_slices(self, node_name: str) -> list[Manifest]:
        """See ClusterApi."""
        with _cluster_errors():
            found = self._api.list_cluster_custom_object(
                *_RESOURCE_API,
                "resourceslices",
                field_selector=_on_node(node_name),
                _request_timeout=_TIMEOUT_S,
            )
        return list(cast("Manifest", found)["items"])

    def create_resource_slice(self, manifest: Manifest) -> None:
        """See ClusterApi."""
        with _cluster_errors():
            self._api.create_cluster_custom_object(
                *_RESOURCE_API, "resourceslices", dict(manifest), _request_timeout=_TIMEOUT_S
            )

    def replace_resource_slice(self, manifest: Manifest) -> None:
        """See ClusterApi."""
        with _cluster_errors():
            self._api.replace_cluster_custom_object(
                *_RESOURCE_API,
                "resourceslices",
                manifest["metadata"]["name"],
                dict(manifest),
                _request_timeout=_TIMEOUT_S,
            )

    def delete_resource_slice(self, name: str) -> None:
        """See ClusterApi."""
        with _cluster_errors():
            self._api.delete_cluster_custom_object(
                *_RESOURCE_API, "resourceslices", name, _request_timeout=_TIMEOUT_S
            )

    def list_gpu_schedules(self, node_name: str) -> tuple[list[Manifest], str]:
        """See ClusterApi."""
        with _cluster_errors():
            found = self._api.list_cluster_custom_object(
                *_KNEESCALE_API,
                "gpuschedules",
                field_selector=_on_node(node_name),
                _request_timeout=_TIMEOUT_S,
            )
        manifest = cast("Manifest", found)
        return list(manifest["items"]), manifest["metadata"]["resourceVersion"]

    def watch_gpu_schedules(self, node_name: str, resource_version: str) -> Iterator[WatchEvent]:
        """See ClusterApi."""
        with _cluster_errors():
            stream = watch.Watch().stream(  # type: ignore[no-untyped-call]
                self._api.list_cluster_custom_object,
                *_KNEESCALE_API,
                "gpuschedules",
                field_selector=_on_node(node_name),
                resource_version=resource_version,
                timeout_seconds=_WATCH_TIMEOUT_S,
                _request_timeout=(_TIMEOUT_S[0], _WATCH_TIMEOUT_S + _TIMEOUT_S[1]),
            )
            for event in stream:
                yield WatchEvent(event["raw_object"], deleted=event["type"] == "DELETED")

    def patch_gpu_schedule_status(self, name: str, status: Manifest) -> None:
        """See ClusterApi."""
        with _cluster_errors():
            self._api.patch_cluster_custom_object_status(
                *_KNEESCALE_API,
                "gpuschedules",
                name,
                {"status": dict(status)},
                _content_type=_MERGE_PATCH,
                _request_timeout=_TIMEOUT_S,
            )


def _on_node(node_name: str) -> str:
    return f"spec.nodeName={node_name}"


def _configuration(kubeconfig: str) -> client.Configuration:
    configuration = client.Configuration()
    # Every caller asks again in its own time.
    configuration.retries = False
    try:
        if kubeconfig:
            config.load_kube_config(kubeconfig, client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        raise ClusterError(f"no cluster to talk to: {error}") from error
    return configuration


@contextmanager
def _cluster_errors() -> Iterator[None]:
    """Turns what the client library raises into ClusterError."""
    try:
        yield
    except client.ApiException as error:
        message = f"the API server said {error.status} {error.reason}"
        raise _BY_STATUS.get(error.status, ClusterError)(message) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise AwayError(f"the API server is away: {error}") from error


_BY_STATUS: dict[int | None, type[ClusterError]] = {
    _NOT_FOUND: NotFoundError,
    _CONFLICT: ConflictError,
    _GONE: ExpiredError,
}
