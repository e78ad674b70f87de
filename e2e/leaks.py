"""What a node of a local cluster holds of pods and claims that are no more."""

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.cluster.node import Node
from harness.wait import wait_until
from kneescale.api.names import DRIVER

CLAIMS = "/var/lib/kneescale/claims"
CHECKPOINT = "/var/lib/kneescale/checkpoint.json"
CDI = "/run/cdi"
SOCKET = "dispatcher.sock"
_POD_GROUP = re.compile(r"/pod([0-9a-f-]{36})")
_POD_MOUNT = re.compile(r"/var/lib/kubelet/pods/([0-9a-f-]{36})/")


def leaks(cluster: LocalCluster, kubectl: Kubectl) -> list[str]:
    """A sentence for each thing that is left over on a node or in the API server, or that is missing."""
    pods = _items(kubectl, "pods")
    claims = _items(kubectl, "resourceclaims")
    all_uids = {pod["metadata"]["uid"] for pod in pods}
    found = [f"{_name(claim)} is reserved for no pod" for claim in claims if not _holders(claim) & all_uids]
    found += [f"{_name(obj)} does not end" for obj in pods + claims if "deletionTimestamp" in obj["metadata"]]
    for node in cluster.nodes():
        uids = {pod["metadata"]["uid"] for pod in pods if pod["spec"].get("nodeName") == node.name}
        here = {claim["metadata"]["uid"] for claim in claims if _holders(claim) & uids}
        found += [f"{node.name}: {what}" for what in _on_node(node, uids, here)]
    return found


def wait_until_tidy(cluster: LocalCluster, kubectl: Kubectl, timeout_s: float) -> None:
    """Return once nothing is left over. Raises TimeoutError that says what is."""
    found: list[str] = []

    def tidy() -> bool:
        found[:] = leaks(cluster, kubectl)
        return not found

    try:
        wait_until(tidy, "nothing is left over", timeout_s, poll_s=1.0)
    except TimeoutError as error:
        raise TimeoutError(f"{error}: {'; '.join(found)}") from error


def _on_node(node: Node, pods: Collection[str], claims: Collection[str]) -> Iterator[str]:
    folders = {path.name for path in node.seen(CLAIMS).glob("*")}
    sockets = {path.parent.name for path in node.seen(CLAIMS).glob(f"*/{SOCKET}")}
    devices = {path.stem.rpartition("_")[2] for path in node.seen(CDI).glob(f"{DRIVER}-*.json")}
    saved = {claim["uid"] for claim in _checkpoint(node)["claims"]}
    for what, there in {
        "folder": folders,
        "socket": sockets,
        "CDI file": devices,
        "checkpoint": saved,
    }.items():
        yield from (f"a {what} of claim {uid}, which is no more" for uid in there - set(claims))
        yield from (f"no {what} of claim {uid}" for uid in set(claims) - there)
    yield from (f"processes of pod {uid}, which is no more" for uid in _pods_with_processes(node) - set(pods))
    yield from (f"mounts of pod {uid}, which is no more" for uid in _pods_with_mounts(node) - set(pods))


def _checkpoint(node: Node) -> Any:  # noqa: ANN401
    path = node.seen(CHECKPOINT)
    return json.loads(path.read_text()) if path.exists() else {"claims": []}


def _pods_with_processes(node: Node) -> set[str]:
    groups = map(str, node.units.cgroups.occupied(node.name))
    return {match[1] for match in map(_POD_GROUP.search, groups) if match}


def _pods_with_mounts(node: Node) -> set[str]:
    return set(_POD_MOUNT.findall(node.inside("cat", "/proc/self/mountinfo")))


def _items(kubectl: Kubectl, kind: str) -> list[Any]:
    found: list[Any] = json.loads(kubectl.run("get", kind, "--all-namespaces", "-o=json"))["items"]
    return found


def _holders(claim: Any) -> set[str]:  # noqa: ANN401
    return {holder["uid"] for holder in claim.get("status", {}).get("reservedFor", [])}


def _name(obj: Any) -> str:  # noqa: ANN401
    return f"{obj['kind']} {obj['metadata']['namespace']}/{obj['metadata']['name']}"
