"""The addresses of a local cluster, chosen so that several clusters run side by side.

Each cluster has a slot, a small number, from which all its names and addresses follow. Ports are the usual
ones: clusters differ by address, also on the loopback network.
"""

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from e2e.cluster.base import ClusterError

SLOTS = 16


@dataclass(frozen=True, slots=True)
class Addresses:
    """Every name and address of the cluster in one slot; nodes are numbered from 1."""

    slot: int

    @property
    def bridge(self) -> str:
        """The bridge that joins the nodes and this machine."""
        return f"kns{self.slot}"

    def link(self, node: int) -> str:
        """The bridge's end of the cable to a node."""
        return f"{self.bridge}n{node}"

    @property
    def loopback(self) -> str:
        """Where the parts of the control plane that only each other need to reach listen."""
        return f"127.89.{self.slot}.1"

    @property
    def network(self) -> IPv4Network:
        """The network of the bridge."""
        return IPv4Network(f"10.89.{self.slot}.0/24")

    @property
    def host(self) -> IPv4Address:
        """This machine on the bridge, where the API server listens."""
        return self.network[1]

    def node(self, node: int) -> IPv4Address:
        """A node on the bridge."""
        return self.network[10 + node]

    def hardware(self, node: int) -> str:
        """A node's hardware address there, as its network card would have: the same after a reboot.

        Neighbours hold on to the one that they know (arp(7), `locktime`, `delay_first_probe_time`).
        """
        # 02: locally administered, and of one interface.
        return f"02:89:00:00:{self.slot:02x}:{node:02x}"

    @property
    def all_pods(self) -> IPv4Network:
        """The network of all pods."""
        return IPv4Network(f"10.{100 + self.slot}.0.0/16")

    def pods(self, node: int) -> IPv4Network:
        """The network of one node's pods."""
        return IPv4Network(f"10.{100 + self.slot}.{node}.0/24")

    @property
    def services(self) -> IPv4Network:
        """The network of cluster IPs."""
        return IPv4Network(f"10.{120 + self.slot}.0.0/16")

    @property
    def api_service(self) -> IPv4Address:
        """The cluster IP of the API server."""
        return self.services[1]

    @property
    def dns_service(self) -> IPv4Address:
        """The cluster IP at which pods look for DNS."""
        return self.services[10]

    @property
    def api_url(self) -> str:
        """The URL of the API server."""
        return f"https://{self.host}:6443"

    @property
    def etcd_url(self) -> str:
        """The URL of etcd."""
        return f"http://{self.loopback}:2379"


def free_slot(links: Collection[str], routes: Collection[IPv4Network]) -> Addresses:
    """Return the lowest slot whose bridge and networks nothing on this machine uses yet.

    Raises ClusterError if there is none.
    """
    for slot in range(SLOTS):
        candidate = Addresses(slot)
        mine = (candidate.network, candidate.all_pods, candidate.services)
        if candidate.bridge not in links and not any(n.overlaps(r) for n in mine for r in routes):
            return candidate
    raise ClusterError(
        f"all {SLOTS} slots for local clusters are taken: take one down, or free the networks "
        "10.89.0.0/16, 10.100.0.0/14 to 10.132.0.0/14 from other use"
    )
