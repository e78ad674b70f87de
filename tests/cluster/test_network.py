"""A cluster's network is found by the name that its bridge bears, and only that is removed."""

import json
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from e2e.cluster import network
from e2e.cluster.addresses import Addresses
from e2e.cluster.network import Network
from tests.cluster.recording_runner import RecordingRunner


class Machine(RecordingRunner):
    """Links that `ip link del` really removes."""

    def __init__(self, links: dict[str, str], forward_policy: str = "ACCEPT") -> None:
        super().__init__()
        self.links = dict(links)
        self.answers = {
            "ip -j link": lambda _: json.dumps([{"ifname": n, "ifalias": a} for n, a in self.links.items()]),
            "ip link del": self._delete,
            "iptables -S FORWARD": f"-P FORWARD {forward_policy}\n",
        }

    def _delete(self, argv: Sequence[str]) -> str:
        del self.links[argv[-1]]
        return ""


@pytest.fixture(autouse=True)
def bridged_traffic_is_filtered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    switch = tmp_path / "bridge-nf-call-iptables"
    switch.write_text("1\n")
    monkeypatch.setattr(network, "FORWARD_THROUGH_BRIDGE", switch)


OTHERS = {"lo": "", "eth0": "", "kns0": "kneescale cluster other", "kns0n1": ""}


def test_a_cluster_is_found_by_its_bridges_alias() -> None:
    machine = Machine({**OTHERS, "kns1": "kneescale cluster mine"})
    assert Network(machine).addresses_of("mine") == Addresses(1)
    assert Network(machine).addresses_of("other") == Addresses(0)
    assert Network(machine).addresses_of("min") is None


def test_a_new_cluster_takes_a_free_slot_and_marks_it() -> None:
    machine = Machine(OTHERS)
    addresses = Network(machine).make("mine")
    assert addresses == Addresses(1)
    assert machine.ran("ip link add kns1 type bridge")
    assert machine.ran("ip link set kns1 alias kneescale cluster mine up")
    assert machine.ran("iptables -I") == []


def test_a_firewall_that_drops_what_goes_through_bridges_gets_an_exception_and_loses_it() -> None:
    machine = Machine({**OTHERS, "kns1": "kneescale cluster mine"}, forward_policy="DROP")
    Network(machine).make("third")
    Network(machine).remove(Addresses(1))
    assert machine.ran("iptables -I") == ["iptables -I FORWARD -i kns2 -o kns2 -j ACCEPT"]
    assert machine.ran("iptables -D") == ["iptables -D FORWARD -i kns1 -o kns1 -j ACCEPT"]


def test_removing_a_cluster_leaves_the_others() -> None:
    machine = Machine(
        {**OTHERS, "kns1": "kneescale cluster mine", "kns1n1": "", "kns1n2": "", "kns10": "", "kns10n1": ""}
    )
    Network(machine).remove(Addresses(1))
    assert set(machine.links) == {*OTHERS, "kns10", "kns10n1"}


def test_routes_lead_to_pods_by_their_node_and_to_services_by_one() -> None:
    machine = Machine({})
    network = Network(machine)
    network.connect(Addresses(3), node=2, pid=77)
    network.route_services(Addresses(3), node=1)
    assert machine.ran("ip link add") == [
        "ip link add kns3n2 master kns3 up type veth peer name eth0 address 02:89:00:00:03:02 netns 77"
    ]
    assert machine.ran("ip route replace") == [
        "ip route replace 10.103.2.0/24 via 10.89.3.12 dev kns3",
        "ip route replace 10.123.0.0/16 via 10.89.3.11 dev kns3",
    ]


def test_the_machines_routes_are_respected() -> None:
    machine = Machine({})
    routes = [{"dst": "default"}, {"dst": str(IPv4Network("10.120.0.0/16"))}, {"dst": "127.0.0.1"}]
    machine.answers = {**machine.answers, "route show": json.dumps(routes)}
    assert Network(machine).make("mine") == Addresses(1)
