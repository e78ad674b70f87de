"""The node's GPUSchedules, listed and then watched; after each change all of them are handed on."""

import logging
from collections.abc import Callable
from threading import Event
from time import monotonic

from kneescale.agent.cluster_api import ClusterApi, ClusterError, ExpiredError, Manifest
from kneescale.core.backoff import Backoff

log = logging.getLogger(__name__)

_BACKOFF = Backoff(first_s=0.5, longest_s=30)


class ScheduleWatch:
    """Level-based: `apply` gets the whole list each time and compares for itself."""

    def __init__(self, api: ClusterApi, node_name: str, apply: Callable[[list[Manifest]], None]) -> None:
        self._api = api
        self._node_name = node_name
        self._apply = apply
        self._schedules: dict[str, Manifest] = {}
        self._resource_version = ""

    def run(self, stop: Event) -> None:
        """List and watch until `stop`; a server that is away is asked again, ever more slowly."""
        failures = 0
        while not stop.is_set():
            began_s = monotonic()
            delay_s = _BACKOFF.first_s  # a server may end watches at once
            try:
                self.follow()
                failures = 0
            except ExpiredError:
                self._resource_version = ""
            except ClusterError as error:
                # One that was cut after a while, as by a proxy for which it was idle, is no failure in a row.
                failures = 1 if monotonic() - began_s > _BACKOFF.longest_s else failures + 1
                delay_s = _BACKOFF.wait_s(failures)
                log.warning("no news of GPUSchedules: %s; asking again in %.1f s", error, delay_s)
            stop.wait(delay_s)

    def follow(self) -> None:
        """List where nothing is known, then hand on changes until the server ends the watch.

        Raises ClusterError; what was seen by then is kept, and the next call resumes after it.
        """
        if not self._resource_version:
            manifests, self._resource_version = self._api.list_gpu_schedules(self._node_name)
            self._schedules = {manifest["metadata"]["name"]: manifest for manifest in manifests}
            self._apply(manifests)
        for event in self._api.watch_gpu_schedules(self._node_name, self._resource_version):
            metadata = event.manifest["metadata"]
            if event.deleted:
                self._schedules.pop(metadata["name"], None)
            else:
                self._schedules[metadata["name"]] = event.manifest
            self._resource_version = metadata["resourceVersion"]
            self._apply(list(self._schedules.values()))
