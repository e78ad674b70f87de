"""The network of a local cluster: a bridge, a cable to each node, and routes to pods and Services."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from e2e.cluster.addresses import SLOTS, Addresses, free_slot
from harness.runner import Runner, succeeds
from harness.wait import wait_until

FORWARD_THROUGH_BRIDGE = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


@dataclass(frozen=True, slots=True)
class Network:
    """The networks that this machine's clusters have; a bridge bears its cluster's name as its alias."""

    runner: Runner

    def addresses_of(self, cluster: str) -> Addresses | None:
        """Return the addresses of a cluster that has a bridge here, or None."""
        bridges = {link["ifname"] for link in self._links() if link.get("ifalias") == _alias(cluster)}
        return next((a for a in map(Addresses, range(SLOTS)) if a.bridge in bridges), None)

    def make(self, cluster: str) -> Addresses:
        """Make a bridge for a cluster in a free slot. Raises ClusterError if there is none."""
        links = [link["ifname"] for link in self._links()]
        addresses = free_slot(links, self._routed())
        bridge = addresses.bridge
        self._ip("link", "add", bridge, "type", "bridge")
        self._ip("link", "set", bridge, "alias", _alias(cluster), "up")
        self._ip("addr", "add", f"{addresses.host}/{addresses.network.prefixlen}", "dev", bridge)
        if self._drops_bridged():
            self.runner.run(["iptables", "-I", "FORWARD", *_accept(bridge)])
        return addresses

    def connect(self, addresses: Addresses, node: int, pid: int) -> None:
        """Lay a cable from the bridge to the network namespace of `pid`; route the node's pods there."""
        card = ["name", "eth0", "address", addresses.hardware(node), "netns", str(pid)]
        cable = ["type", "veth", "peer", *card]
        self._ip("link", "add", addresses.link(node), "master", addresses.bridge, "up", *cable)
        self._route(addresses, addresses.pods(node), node)

    def plug(self, addresses: Addresses, node: int, *, up: bool) -> None:
        """Plug a node's cable in, or pull it."""
        self._ip("link", "set", addresses.link(node), "up" if up else "down")

    def wait_for_no_cable(self, addresses: Addresses, node: int) -> None:
        """Return once a node's cable went with its namespace. Raises TimeoutError."""
        link = addresses.link(node)
        gone = lambda: link not in self._mine(addresses)  # noqa: E731
        wait_until(gone, f"{link} is gone", timeout_s=10)

    def route_services(self, addresses: Addresses, node: int) -> None:
        """Send this machine's traffic for Services to a node, whose kube-proxy picks a pod."""
        self._route(addresses, addresses.services, node)

    def remove(self, addresses: Addresses) -> None:
        """Remove the bridge, its cables and routes, and wait until they are gone. Raises TimeoutError."""
        for link in self._mine(addresses):
            # The kernel removes cables by itself, too, some time after the node's last process.
            succeeds(self.runner, ["ip", "link", "del", link])
        if self._drops_bridged():
            succeeds(self.runner, ["iptables", "-D", "FORWARD", *_accept(addresses.bridge)])
        wait_until(
            lambda: not self._mine(addresses), f"{addresses.bridge} and its cables are gone", timeout_s=10
        )

    def _mine(self, addresses: Addresses) -> list[str]:
        names = [link["ifname"] for link in self._links()]
        return [n for n in names if n == addresses.bridge or n.startswith(f"{addresses.bridge}n")]

    def _route(self, addresses: Addresses, to: IPv4Network, node: int) -> None:
        self._ip("route", "replace", str(to), "via", str(addresses.node(node)), "dev", addresses.bridge)

    def _routed(self) -> list[IPv4Network]:
        routes = json.loads(self._ip("-j", "-4", "route", "show", "table", "all") or "[]")
        destinations = [r["dst"] for r in routes if r["dst"] != "default"]
        return [IPv4Network(d, strict=False) for d in destinations]

    def _drops_bridged(self) -> bool:
        """Tell whether the firewall drops what goes through a bridge, as a Docker engine has it."""
        if not FORWARD_THROUGH_BRIDGE.exists() or FORWARD_THROUGH_BRIDGE.read_text().strip() != "1":
            return False
        return "-P FORWARD ACCEPT" not in self.runner.run(["iptables", "-S", "FORWARD"])

    def _links(self) -> list[dict[str, Any]]:
        links: list[dict[str, Any]] = json.loads(self._ip("-j", "link") or "[]")
        return links

    def _ip(self, *args: str) -> str:
        return self.runner.run(["ip", *args])


def _alias(cluster: str) -> str:
    return f"kneescale cluster {cluster}"


def _accept(bridge: str) -> Sequence[str]:
    return ("-i", bridge, "-o", bridge, "-j", "ACCEPT")
