"""Faults in their turn: whom they struck, and what comes of those that fail."""

import io
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from e2e.chaos import run
from e2e.chaos.account import Struck
from e2e.chaos.agents import Agents
from e2e.chaos.faults import ENDS_AGENT, FAULTS, Blow, Victim, World
from e2e.chaos.strikes import Strike
from e2e.cluster.base import ClusterError
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.demo.system import Kneescale
from e2e.shop import Shop
from harness.progress import Progress
from harness.runner import CommandError
from tests.chaos.agent_pods import AgentPods

VICTIM = Victim("node1", frozenset({"vgg19"}), "node1")
ERRORS = [
    ClusterError("node1/kubelet has ended"),
    CommandError(["kubectl"], "refused"),
    LookupError("there is none just now"),
    ProcessLookupError("container c1 has ended"),
    TimeoutError("it ends: not so after 10 s"),
]


def strike_all(
    monkeypatch: pytest.MonkeyPatch,
    agents: AgentPods,
    choose: Callable[[World, float], Blow],
    *faults: str,
) -> tuple[list[Struck], list[str]]:
    """What became of faults that choose so whom to strike, and what is wrong with agents at the end."""
    monkeypatch.setattr(run, "FAULTS", dict.fromkeys(FAULTS, choose))
    kubectl = Kubectl(Path("kubectl"), Path("kubeconfig"), agents)
    world = World(cast("LocalCluster", None), kubectl, cast("Shop", None))
    asked = Agents(Kneescale(kubectl))
    strikes = [Strike(0.0, fault, 0.5) for fault in faults]
    struck = run._strike_all(world, asked, strikes, time.monotonic(), Progress(io.StringIO()))
    return struck, asked.failures(struck)


@pytest.mark.parametrize("fault", sorted(ENDS_AGENT))
def test_an_agent_is_asked_what_it_granted_before_a_fault_ends_it(
    monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    agents = AgentPods("node1")
    agents.overcommitted["node1"] = 3

    def end_agent() -> None:
        agents.overcommitted["node1"] = 0

    struck, wrong = strike_all(monkeypatch, agents, lambda *_: Blow(VICTIM, end_agent), fault, fault)
    assert [(each.fault, each.victim, each.error) for each in struck] == 2 * [(fault, "node1", "")]
    assert wrong == ["node1 gpu0 was granted over 100 GPU% at 3 instants"]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_fault_that_finds_no_victim_did_not_come_to_pass(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def find_none(world: World, draw: float) -> Blow:
        raise error

    (struck,), _ = strike_all(monkeypatch, AgentPods("node1"), find_none, "agent killed")
    assert (struck.victim, struck.models) == ("", frozenset())
    assert struck.error == f"did not come to pass: {error}"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_fault_that_fails_has_struck_its_victims_models(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail() -> None:
        raise error

    (struck,), _ = strike_all(monkeypatch, AgentPods("node1"), lambda *_: Blow(VICTIM, fail), "worker hung")
    assert (struck.victim, struck.models, struck.node) == (VICTIM.name, VICTIM.models, VICTIM.node)
    assert struck.error == f"came to pass only half-way: {error}"


def test_a_fault_that_ends_an_agent_happens_though_that_cannot_be_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agents, ended = AgentPods("node1"), []
    agents.silent = {"node1"}
    struck, _ = strike_all(
        monkeypatch, agents, lambda *_: Blow(VICTIM, lambda: ended.append("node1")), "agent killed"
    )
    assert (ended, struck[0].error) == (["node1"], "")


def test_what_is_still_untidy_when_time_is_up_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def untidy(*_: object) -> None:
        raise TimeoutError("nothing is left over: not so after 120 s: a mount")

    monkeypatch.setattr(run, "_wait_until_all_serve", lambda _: None)
    monkeypatch.setattr(run, "wait_until_tidy", untidy)
    assert run._left_over(cast("World", SimpleNamespace(shop=None, cluster=None, kubectl=None))) == [
        "nothing is left over: not so after 120 s: a mount"
    ]


def test_every_fault_that_ends_an_agent_is_one_of_the_faults() -> None:
    assert set(FAULTS) >= ENDS_AGENT
