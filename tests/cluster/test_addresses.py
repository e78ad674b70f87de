"""Clusters side by side share no name and no address, and none is taken that something else has."""

from ipaddress import IPv4Network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.cluster.addresses import SLOTS, Addresses, free_slot
from e2e.cluster.base import ClusterError


def _networks(addresses: Addresses) -> list[IPv4Network]:
    return [addresses.network, addresses.all_pods, addresses.services, IPv4Network(addresses.loopback)]


def test_no_two_clusters_share_an_address() -> None:
    networks = [network for slot in range(SLOTS) for network in _networks(Addresses(slot))]
    assert not any(one.overlaps(other) for one, other in combinations(networks, 2))


def test_no_two_nodes_share_a_hardware_address() -> None:
    cards = [Addresses(slot).hardware(node) for slot in range(SLOTS) for node in range(1, 20)]
    assert len(set(cards)) == len(cards)


@given(st.integers(0, SLOTS - 1), st.integers(1, 100))
def test_a_nodes_addresses_lie_in_its_clusters_networks(slot: int, node: int) -> None:
    addresses = Addresses(slot)
    assert addresses.node(node) in addresses.network
    assert addresses.node(node) != addresses.host
    assert addresses.pods(node).subnet_of(addresses.all_pods)
    assert addresses.api_service in addresses.services
    # The kernel's limit on the name of an interface (IFNAMSIZ less the closing zero).
    assert len(addresses.link(node)) <= 15


def test_the_lowest_free_slot_is_taken() -> None:
    assert free_slot([], []) == Addresses(0)
    assert free_slot(["eth0", "kns0", "kns2"], []) == Addresses(1)


@pytest.mark.parametrize("route", ["10.89.0.0/24", "10.100.7.0/24", "10.120.0.1/32", "10.0.0.0/9"])
def test_a_slot_whose_network_is_routed_elsewhere_is_not_taken(route: str) -> None:
    routes = [IPv4Network(route)]
    if route == "10.0.0.0/9":
        with pytest.raises(ClusterError, match="all 16 slots"):
            free_slot([], routes)
    else:
        assert free_slot([], routes) == Addresses(1)
