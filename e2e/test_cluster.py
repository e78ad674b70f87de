"""The local cluster: real nodes, Services that this machine reaches, and nothing left behind."""

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from glob import glob
from pathlib import Path

import psutil
import pytest

from e2e import oci
from e2e.cluster.base import ClusterError
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.cluster.programs import build_all, kubernetes_version
from e2e.images import ImageBuilder
from harness.progress import Progress
from harness.runner import Shell
from harness.wait import wait_until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="a local cluster needs root"),
]

NAME = "selftest"
VOLUME_IMAGE = "localhost/kneescale/selftest-volume:1"
REQUESTS = 40


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    cluster = LocalCluster(NAME, Shell(), Progress())
    cluster.up()
    yield cluster
    cluster.down()


def test_pods_on_both_nodes_serve_an_image_volume_to_this_machine(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    server = ImageBuilder(Shell(), Progress()).base()
    (tmp_path / "weights").write_text("0.5 0.25")
    volume = tmp_path / "volume.tar"
    oci.write_image(volume, VOLUME_IMAGE, {"/model/weights": tmp_path / "weights"})
    cluster.load_images([server.archive, volume])
    (tmp_path / "objects.json").write_text(json.dumps(_servers(server.ref)))
    kubectl = Kubectl(cluster.kubectl, cluster.kubeconfig, Shell())

    kubectl.run("apply", f"--filename={tmp_path / 'objects.json'}")
    kubectl.run("rollout", "status", "daemonset/server", "--timeout=120s")
    ip = kubectl.run("get", "service", "server", "-o=jsonpath={.spec.clusterIP}")

    # kube-proxy follows a Service's endpoints a moment later.
    pods: set[str] = set()
    wait_until(
        lambda: _serving_nodes(kubectl, ip, pods) == {"node1", "node2"}, "both nodes serve", timeout_s=60
    )
    assert {_get(f"http://{ip}/srv/weights") for _ in range(REQUESTS)} == {"0.5 0.25"}


def test_a_healthy_cluster_is_kept(cluster: LocalCluster) -> None:
    kubectl = Kubectl(cluster.kubectl, cluster.kubeconfig, Shell())
    uid = kubectl.run("get", "namespace", "kube-system", "-o=jsonpath={.metadata.uid}")

    LocalCluster(NAME, Shell(), Progress()).up()

    assert kubectl.run("get", "namespace", "kube-system", "-o=jsonpath={.metadata.uid}") == uid
    assert kubectl.server_version() == kubernetes_version()
    assert kubectl.node_names() == ["node1", "node2"]


def test_each_node_offers_one_cpu(cluster: LocalCluster) -> None:
    kubectl = Kubectl(cluster.kubectl, cluster.kubeconfig, Shell())
    assert kubectl.run("get", "nodes", "-o=jsonpath={.items[*].status.allocatable.cpu}").split() == ["1", "1"]


def test_down_leaves_the_machine_as_it_was() -> None:
    before = _traces()
    cluster = LocalCluster(NAME, Shell(), Progress())
    cluster.up()
    assert _new_since(before)
    cluster.down()
    assert _new_since(before) == {}


def test_a_start_that_fails_leaves_the_machine_as_it_was() -> None:
    before = _traces()
    programs = dataclasses.replace(build_all(Shell(), Progress()), etcd=Path("/bin/false"))
    with pytest.raises(ClusterError, match="control/etcd has ended"):
        LocalCluster(NAME, Shell(), Progress(), programs=programs).up()
    assert _new_since(before) == {}


def test_an_interrupted_start_leaves_the_machine_as_it_was() -> None:
    before = _traces()
    with pytest.raises(KeyboardInterrupt):
        LocalCluster(NAME, InterruptedShell("kube-proxy"), Progress()).up()
    assert _new_since(before) == {}


def test_what_a_killed_start_left_is_replaced() -> None:
    before = _traces()
    command = [sys.executable, "-m", "e2e.cluster", "up", "--kind=local", f"--name={NAME}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as starting:
        wait_until(lambda: bool(_new_since(before)), "the start has begun", timeout_s=60)
        starting.kill()

    cluster = LocalCluster(NAME, Shell(), Progress())
    cluster.up()
    assert Kubectl(cluster.kubectl, cluster.kubeconfig, Shell()).node_names() == ["node1", "node2"]
    cluster.down()
    assert _new_since(before) == {}


class InterruptedShell(Shell):
    """A shell in which someone presses Ctrl-C when a program is about to start."""

    def __init__(self, program: str) -> None:
        self._program = program

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: Path | None = None,
        log: Path | None = None,
    ) -> str:
        if any(argument.endswith(f"/{self._program}") for argument in argv):
            raise KeyboardInterrupt
        return super().run(argv, env=env, cwd=cwd, stdin=stdin, log=log)


def _servers(image: str) -> dict[str, object]:
    labels = {"app": "server"}
    container = {
        "name": "server",
        "image": image,
        "command": ["python3", "-m", "http.server", "8080", "--directory=/"],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        "volumeMounts": [{"name": "model", "mountPath": "/srv", "subPath": "model"}],
    }
    pod = {
        "containers": [container],
        "volumes": [{"name": "model", "image": {"reference": VOLUME_IMAGE}}],
        "terminationGracePeriodSeconds": 0,
    }
    daemon_set = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "server"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server"},
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    return {"apiVersion": "v1", "kind": "List", "items": [daemon_set, service]}


def _serving_nodes(kubectl: Kubectl, ip: str, pods: set[str]) -> set[str]:
    """Ask the Service once more, and return the nodes of all pods that have answered so far."""
    with contextlib.suppress(urllib.error.URLError):
        pods.add(_get(f"http://{ip}/etc/hostname").strip())
    return {_node(kubectl, pod) for pod in pods}


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        text: str = response.read().decode()
    return text


def _node(kubectl: Kubectl, pod: str) -> str:
    return kubectl.run("get", "pod", pod, "-o=jsonpath={.spec.nodeName}")


def _new_since(before: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The traces that were not there before. What has gone since may be another cluster's."""
    return {kind: new for kind, found in _traces().items() if (new := found - before[kind])}


def _traces() -> dict[str, set[str]]:
    """What a cluster leaves on the machine while it runs; other clusters may come and go meanwhile."""
    run = Shell().run
    links = json.loads(run(["ip", "-j", "link"]))
    others = [link["ifname"] for link in links if _is_bridge_of_another(link)]
    of_others = re.compile("|".join([*(rf"\b{bridge}(n\d+)?\b" for bridge in others), r"\bkns-(?!selftest)"]))
    # Not Path.glob: that fails where another cluster's group is removed meanwhile.
    groups = glob("/sys/fs/cgroup/*/*/")  # noqa: PTH207
    return {
        "links": _without(of_others, [link["ifname"] for link in links]),
        "routes": _without(of_others, run(["ip", "route"]).splitlines()),
        "control groups": _without(of_others, groups),
        "named network namespaces": set(run(["ip", "netns"]).splitlines()),
        "mounts": set(Path("/proc/self/mounts").read_text().splitlines()),
        "firewall rules": {line for line in run(["iptables-save"]).splitlines() if line.startswith("-A")},
        "folders": {
            str(path) for top in ("/", "/run", "/var/lib", "/var/log") for path in Path(top).iterdir()
        },
        "processes": {line for line in _command_lines() if f"/clusters/{NAME}/" in line},
    }


def _is_bridge_of_another(link: Mapping[str, str]) -> bool:
    alias = link.get("ifalias", "")
    return alias.startswith("kneescale cluster") and not alias.endswith(f" {NAME}")


def _without(pattern: re.Pattern[str], lines: Sequence[str]) -> set[str]:
    return {line for line in lines if not pattern.search(line)}


def _command_lines() -> Iterator[str]:
    for process in psutil.process_iter(["cmdline"]):
        yield " ".join(process.info["cmdline"] or [])
