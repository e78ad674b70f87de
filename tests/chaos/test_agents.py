"""What is asked of agents, and what comes of those that cannot be asked."""

from pathlib import Path

import pytest

from e2e.chaos.account import Struck
from e2e.chaos.agents import Agents
from e2e.cluster.kubectl import Kubectl
from e2e.demo.system import Kneescale
from tests.chaos.agent_pods import AgentPods


@pytest.fixture
def pods() -> AgentPods:
    """Two agents, that have ended before."""
    pods = AgentPods("node1", "node2")
    pods.restarts = {"node1": 2, "node2": 1}
    return pods


@pytest.fixture
def agents(pods: AgentPods) -> Agents:
    return Agents(Kneescale(Kubectl(Path("kubectl"), Path("kubeconfig"), pods)))


def struck(fault: str, node: str) -> Struck:
    return Struck(fault, node, frozenset(), began_s=100.0, ended_s=101.0)


def test_nothing_is_wrong_with_agents_that_answer_and_did_not_end(agents: Agents) -> None:
    assert agents.failures([]) == []
    assert agents.unread == []


@pytest.mark.parametrize(("silent", "other"), [("node1", "node2"), ("node2", "node1")])
def test_what_one_says_counts_though_another_cannot_be_asked(
    pods: AgentPods, agents: Agents, silent: str, other: str
) -> None:
    pods.silent, pods.overcommitted[other] = {silent}, 3
    assert {sentence.partition(" kubectl")[0] for sentence in agents.failures([])} == {
        f"{silent}: its agent cannot be asked what it granted:",
        f"{other} gpu0 was granted over 100 GPU% at 3 instants",
    }


def test_who_cannot_be_asked_before_its_end_is_told(pods: AgentPods, agents: Agents) -> None:
    pods.silent = {"node2"}
    agents.ask_before_its_end("node1")
    assert agents.unread == []
    agents.ask_before_its_end("node2")
    (sentence,) = agents.unread
    assert sentence.startswith("node2: its agent could not be asked what it had granted: ")
    assert sentence.endswith("node2 is silent")
    pods.silent.clear()
    assert agents.failures([]) == []


def test_an_api_server_that_is_away_is_told_and_raises_nothing(pods: AgentPods, agents: Agents) -> None:
    pods.away = True
    agents.ask_before_its_end("node1")
    assert len(agents.unread) == 1
    assert [sentence.partition(": ")[0] for sentence in agents.failures([])] == [
        "node1",
        "node2",
        "not known how often the agents ended",
    ]


def test_a_node_that_has_lost_its_agent_is_told(pods: AgentPods, agents: Agents) -> None:
    del pods.restarts["node2"]
    assert agents.failures([]) == ["node2: its agent cannot be asked what it granted: it has no agent"]


def test_what_was_granted_before_an_end_and_is_still_counted_is_told_once(
    pods: AgentPods, agents: Agents
) -> None:
    pods.overcommitted["node1"] = 3
    agents.ask_before_its_end("node1")
    agents.ask_before_its_end("node1")
    assert agents.failures([]) == ["node1 gpu0 was granted over 100 GPU% at 3 instants"]


@pytest.mark.parametrize(
    ("restarts", "failures"),
    [
        ({"node1": 4, "node2": 2}, []),
        ({"node1": 0, "node2": 2}, []),
        ({"node1": 5, "node2": 2}, ["node1: its agent ended 3 times, and faults ended it 2 times"]),
        ({"node1": 4, "node2": 3}, ["node2: its agent ended 2 times, and faults ended it 1 times"]),
    ],
    ids=["as often", "a pod made anew", "more often", "one that ended on another node does not count"],
)
def test_an_agent_that_ended_more_often_than_faults_ended_it_is_told(
    pods: AgentPods, agents: Agents, restarts: dict[str, int], failures: list[str]
) -> None:
    ended = [struck("agent killed", "node1"), struck("agent hung", "node1"), struck("node rebooted", "node2")]
    pods.restarts = restarts
    assert agents.failures([*ended, struck("kubelet restarted", "node2")]) == failures
