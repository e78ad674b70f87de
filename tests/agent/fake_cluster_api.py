"""An API server in memory: keeps objects, counts calls, and is away or refuses on request."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from queue import Empty, SimpleQueue
from typing import Any

from kneescale.agent.cluster_api import (
    AwayError,
    ClusterError,
    ConflictError,
    ExpiredError,
    Manifest,
    NotFoundError,
    WatchEvent,
)

_WATCH_S = 0.2


class FakeClusterApi:
    """ClusterApi over dictionaries; `away` makes every call fail as if nobody listened.

    `rejected` are the GPUSchedules whose status it refuses; `before_claim` is called before each answer about
    a claim, which is read by then, and may keep it waiting.
    """

    def __init__(self) -> None:
        self.away = False
        self.claims: dict[tuple[str, str], Manifest] = {}
        self.slices: dict[str, dict[str, Any]] = {}
        self.schedules: dict[str, dict[str, Any]] = {}
        self.statuses: list[tuple[str, Manifest]] = []
        self.rejected: set[str] = set()
        self.before_claim: Callable[[], object] = lambda: None
        self.node: dict[str, Any] = {"metadata": {"uid": "node-uid"}, "status": {"conditions": []}}
        self.events: list[Manifest] = []
        self.lists = 0
        self.writes: list[str] = []
        self._events: SimpleQueue[WatchEvent | Exception] = SimpleQueue()
        self._version = 0

    def set_schedule(self, manifest: Manifest) -> None:
        """Somebody applies a GPUSchedule; watches see it."""
        name = manifest["metadata"]["name"]
        generation = self.schedules.get(name, {"metadata": {"generation": 0}})["metadata"]["generation"] + 1
        stored = {**manifest, "metadata": {**manifest["metadata"], "generation": generation}}
        self.schedules[name] = self._stamp(stored)
        self._events.put(WatchEvent(deepcopy(stored), deleted=False))

    def delete_schedule(self, name: str) -> None:
        """Somebody deletes a GPUSchedule; watches see it."""
        self._events.put(WatchEvent(self._stamp(self.schedules.pop(name)), deleted=True))

    def expire_watches(self) -> None:
        """The next thing that a watch sees is that its version is too old."""
        self._events.put(ExpiredError("too old"))

    def get_node(self, name: str) -> Manifest:
        self._check()
        return {**deepcopy(self.node), "metadata": {**self.node["metadata"], "name": name}}

    def patch_node_condition(self, name: str, condition: Manifest) -> None:
        self._check()
        others = [found for found in self.node["status"]["conditions"] if found["type"] != condition["type"]]
        self.node["status"]["conditions"] = [*others, dict(condition)]

    def create_event(self, manifest: Manifest) -> None:
        self._check()
        self.events.append(manifest)

    def get_resource_claim(self, namespace: str, name: str) -> Manifest:
        self._check()
        if (namespace, name) not in self.claims:
            raise NotFoundError(f"no claim {namespace}/{name}")
        found = self.claims[namespace, name]
        self.before_claim()
        return found

    def list_resource_slices(self, node_name: str) -> list[Manifest]:
        self._check()
        return [deepcopy(found) for found in self.slices.values() if found["spec"]["nodeName"] == node_name]

    def create_resource_slice(self, manifest: Manifest) -> None:
        self._write("create", manifest)
        if manifest["metadata"]["name"] in self.slices:
            raise ConflictError("exists")
        self.slices[manifest["metadata"]["name"]] = self._stamp(_with_defaults(manifest))

    def replace_resource_slice(self, manifest: Manifest) -> None:
        self._write("replace", manifest)
        current = self.slices[manifest["metadata"]["name"]]
        if current["metadata"]["resourceVersion"] != manifest["metadata"]["resourceVersion"]:
            raise ConflictError("changed")
        self.slices[manifest["metadata"]["name"]] = self._stamp(_with_defaults(manifest))

    def delete_resource_slice(self, name: str) -> None:
        self._check()
        self.writes.append("delete")
        if self.slices.pop(name, None) is None:
            raise NotFoundError(f"no slice {name}")

    def list_gpu_schedules(self, node_name: str) -> tuple[list[Manifest], str]:
        self._check()
        self.lists += 1
        self._events = SimpleQueue()
        found = [deepcopy(s) for s in self.schedules.values() if s["spec"]["nodeName"] == node_name]
        return list(found), str(self._version)

    def watch_gpu_schedules(self, node_name: str, resource_version: str) -> Iterator[WatchEvent]:
        events = self._events
        while True:
            self._check()
            try:
                event = events.get(timeout=_WATCH_S)
            except Empty:
                return
            if isinstance(event, Exception):
                raise event
            yield event

    def patch_gpu_schedule_status(self, name: str, status: Manifest) -> None:
        self._check()
        if name not in self.schedules:
            raise NotFoundError(f"no schedule {name}")
        if name in self.rejected:
            raise ClusterError("the API server said 422 Invalid")
        self.statuses.append((name, status))

    def _write(self, verb: str, manifest: Manifest) -> None:
        self._check()
        self.writes.append(verb)

    def _check(self) -> None:
        if self.away:
            raise AwayError("the API server is away")

    def _stamp(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        manifest["metadata"] = {**manifest["metadata"], "resourceVersion": str(self._version)}
        return manifest


def _with_defaults(manifest: Manifest) -> dict[str, Any]:
    """A ResourceSlice as an API server keeps it: no empty list of devices, each taint with its time."""
    kept = deepcopy(dict(manifest))
    for device in kept["spec"]["devices"]:
        for taint in device.get("taints", ()):
            taint["timeAdded"] = "2026-01-01T12:00:00Z"
    if not kept["spec"]["devices"]:
        del kept["spec"]["devices"]
    return kept
