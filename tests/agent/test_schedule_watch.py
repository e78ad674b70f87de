"""The watch hands on all schedules after each change, and gets over everything an API server does."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest

from kneescale.agent.cluster_api import ClusterError, ExpiredError, Manifest
from kneescale.agent.schedule_watch import ScheduleWatch
from tests.agent.builders import NODE, schedule
from tests.agent.fake_cluster_api import FakeClusterApi
from tests.waiting import wait_until


class Seen:
    """What was handed on."""

    def __init__(self) -> None:
        self.lists: list[dict[str, int]] = []

    def __call__(self, manifests: list[Manifest]) -> None:
        self.lists.append({m["metadata"]["name"]: m["metadata"]["generation"] for m in manifests})


@pytest.fixture
def api() -> FakeClusterApi:
    api = FakeClusterApi()
    api.set_schedule(schedule([]))
    api.set_schedule(_elsewhere())
    return api


def _elsewhere() -> dict[str, Any]:
    other = schedule([])
    return {**other, "metadata": {"name": "node2-gpu0"}, "spec": {**other["spec"], "nodeName": "node2"}}


@contextmanager
def _followed(watch: ScheduleWatch) -> Iterator[None]:
    """Follow in a thread of its own while the block runs."""
    stop = Event()
    thread = Thread(target=watch.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


def test_list_then_changes(api: FakeClusterApi) -> None:
    seen = Seen()
    watch = ScheduleWatch(api, NODE, seen)
    watch.follow()
    api.set_schedule(schedule([]))
    api.set_schedule(schedule([], device="gpu1"))
    api.delete_schedule("node1-gpu0")
    watch.follow()
    assert seen.lists == [
        {"node1-gpu0": 1},
        {"node1-gpu0": 2},
        {"node1-gpu0": 2, "node1-gpu1": 1},
        {"node1-gpu1": 1},
    ]
    assert api.lists == 1, "a watch that ended is resumed, not listed again"


def test_an_expired_watch_lists_again(api: FakeClusterApi) -> None:
    seen = Seen()
    watch = ScheduleWatch(api, NODE, seen)
    watch.follow()
    api.expire_watches()
    with pytest.raises(ExpiredError):
        watch.follow()
    api.expire_watches()
    with _followed(watch):
        wait_until(lambda: api.lists == 2, "a new list")


def test_an_api_server_that_comes_back_is_followed_again(api: FakeClusterApi) -> None:
    seen = Seen()
    watch = ScheduleWatch(api, NODE, seen)
    api.away = True
    with pytest.raises(ClusterError):
        watch.follow()
    with _followed(watch):
        api.away = False
        wait_until(lambda: bool(seen.lists), "the list")
    assert seen.lists[0] == {"node1-gpu0": 1}
