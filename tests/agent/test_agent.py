"""What the agent makes of a part that fails."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from kneescale.agent.agent import Agent
from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.agent.emulated import EmulatedBackend
from tests.agent.agent_process import settings_below
from tests.agent.builders import NODE
from tests.agent.fake_cluster_api import FakeClusterApi
from tests.waiting import wait_until


class BrokenBackend(EmulatedBackend):
    """One that cannot look at its devices."""

    def run(self, stop: Event) -> None:
        raise RuntimeError("no such device")


def test_a_part_that_fails_ends_the_agent_and_is_logged_once(
    short_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = BrokenBackend(NODE, 1, "V100-SXM2-16GB", short_dir)
    assert not Agent(settings_below(short_dir), backend, FakeClusterApi()).run()
    (failure,) = [record for record in caplog.records if record.exc_info]
    assert failure.getMessage() == "backend failed; the agent ends"


def test_a_dispatcher_that_looks_stuck_once_does_not_end_the_agent(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the whole process stood still: the thread that looks may come before the one it looks at."""
    looks: list[bool] = []

    def is_turning(_: DispatcherHost) -> bool:
        looks.append(bool(looks))
        return looks[-1]

    monkeypatch.setattr(DispatcherHost, "is_turning", property(is_turning))
    backend = EmulatedBackend(NODE, 1, "V100-SXM2-16GB", short_dir)
    agent = Agent(settings_below(short_dir), backend, FakeClusterApi())
    with ThreadPoolExecutor(1) as pool:
        served = pool.submit(agent.run)
        wait_until(lambda: len(looks) >= 3, "three looks")
        agent.stop()
        assert served.result(20)
