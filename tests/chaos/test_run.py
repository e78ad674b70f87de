"""Faults in their turn, and what is asked of an agent before one ends it."""

import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from e2e.chaos import run
from e2e.chaos.faults import ENDS_AGENT, FAULTS, Victim, World
from e2e.chaos.strikes import Strike
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.shop import Shop
from harness.progress import Progress
from harness.runner import CommandError, Shell


class OneAgent(Shell):
    """Answers for kubectl, of a cluster with one agent."""

    def __init__(self) -> None:
        self.overcommitted = 0
        self.away = False

    def run(self, argv: Sequence[str], **_: object) -> str:
        """The agent's pod, or its trace."""
        if self.away:
            raise CommandError(argv, "the connection was refused")
        if "pods" in argv:
            return "pod/kneescale-agent-1"
        device = {"name": "gpu0", "uuid": "EMU-0", "overcommitted": self.overcommitted, "grants": []}
        return json.dumps({"node": "node1", "backend": "emulated", "now_ns": 1, "devices": [device]})


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> OneAgent:
    """An agent that every fault ends: what it counted is gone then."""
    agent = OneAgent()

    def end(world: World, draw: float) -> Victim:
        agent.overcommitted = 0
        return Victim("node1")

    monkeypatch.setattr(run, "FAULTS", dict.fromkeys(FAULTS, end))
    return agent


def strike_all(agent: OneAgent, *faults: str) -> tuple[list[str], list[str], str]:
    """The faults that happened, what is told of the agent, and the notes."""
    notes = io.StringIO()
    kubectl = Kubectl(Path("kubectl"), Path("kubeconfig"), agent)
    world = World(cast("LocalCluster", None), kubectl, cast("Shop", None))
    strikes = [Strike(0.0, fault, 0.5) for fault in faults]
    struck, over = run._strike_all(world, strikes, time.monotonic(), Progress(notes))
    return [each.fault for each in struck], over, notes.getvalue()


@pytest.mark.parametrize("fault", sorted(ENDS_AGENT))
def test_an_agent_is_asked_what_it_granted_before_a_fault_ends_it(agent: OneAgent, fault: str) -> None:
    agent.overcommitted = 3
    happened, over, _ = strike_all(agent, fault, fault)
    assert happened == [fault, fault]
    assert over == ["node1 gpu0 was granted over 100 GPU% at 3 instants"]


def test_a_fault_happens_though_no_agent_can_be_asked_and_that_is_noted(agent: OneAgent) -> None:
    agent.away = True
    happened, over, notes = strike_all(agent, "agent killed")
    assert (happened, over) == (["agent killed"], [])
    assert "not read of agents what they granted" in notes


def test_every_fault_that_ends_an_agent_is_one_of_the_faults() -> None:
    assert set(FAULTS) >= ENDS_AGENT
