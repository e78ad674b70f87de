"""An agent in a process of its own, to be killed: `python agent_process.py DIR` serves node1 below DIR.

Its API server holds what the files of DIR/api hold; without that folder it is away.
"""

import json
import os
import signal
import sys
from pathlib import Path
from threading import Thread

from kneescale.agent.agent import Agent
from kneescale.agent.backends import make_backend
from kneescale.agent.settings import Settings
from kneescale.core.backends import Backend
from tests.agent.builders import NODE
from tests.agent.fake_cluster_api import FakeClusterApi


def settings_below(folder: Path) -> Settings:
    """Settings of an agent all of whose folders are below `folder`."""
    return Settings(
        node_name=NODE,
        backend=Backend.EMULATED,
        state_dir=folder / "state",
        http_port=0,
        kubelet_dir=folder / "kubelet",
        cdi_dir=folder / "cdi",
        worker_uid=os.getuid(),
    )


def _api(folder: Path) -> FakeClusterApi:
    api = FakeClusterApi()
    api.away = not folder.exists()
    for path in folder.glob("claim-*.json"):
        claim = json.loads(path.read_text())
        api.claims[claim["metadata"]["namespace"], claim["metadata"]["name"]] = claim
    for path in folder.glob("schedule-*.json"):
        api.set_schedule(json.loads(path.read_text()))
    return api


def main() -> int:
    """Serve until SIGTERM."""
    folder = Path(sys.argv[1])
    settings = settings_below(folder)
    agent = Agent(settings, make_backend(settings), _api(folder / "api"))
    signal.signal(signal.SIGTERM, lambda *_: Thread(target=agent.stop).start())
    return 0 if agent.run() else 1


if __name__ == "__main__":
    sys.exit(main())
