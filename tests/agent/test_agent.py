"""What the agent makes of a part that fails."""

from pathlib import Path
from threading import Event

import pytest

from kneescale.agent.agent import Agent
from kneescale.agent.emulated import EmulatedBackend
from tests.agent.agent_process import settings_below
from tests.agent.builders import NODE
from tests.agent.fake_cluster_api import FakeClusterApi


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
