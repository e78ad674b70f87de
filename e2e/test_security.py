"""What a worker and an agent may do: as little as their work allows."""

import base64
import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from e2e.cluster.base import Cluster
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.demo.system import AGENT, NAMESPACE, Kneescale
from e2e.shop import MOBILENET, STARTED_S, Object, Shop, imported_profile, inference_model, opened
from harness.runner import CommandError, Shell
from kneescale.api.names import DRIVER

pytestmark = pytest.mark.cluster

SCHEDULES = "/apis/kneescale.dev/v1alpha1/gpuschedules"
SLICES = "/apis/resource.k8s.io/v1/resourceslices"
SOCKET = "/run/kneescale/dispatcher.sock"


@pytest.fixture(scope="module")
def shop(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop in which two workers serve MobileNet, under the restricted Pod Security Standard."""
    with opened(kubectl, tmp_path_factory.mktemp("shop")) as shop:
        scaling = {"minReplicas": 2, "maxReplicas": 2}
        shop.apply(imported_profile("mobilenet_v2"), inference_model("mobilenet_v2", scaling=scaling))
        shop.wait_for(MOBILENET, "Ready", "True", STARTED_S)
        yield shop


def test_models_serve_under_the_restricted_pod_security_standard(shop: Shop, tmp_path: Path) -> None:
    assert len(shop.ready_pods()) == 2
    loose: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "loose"},
        "spec": {"containers": [{"name": "loose", "image": "example.org/any"}]},
    }
    (tmp_path / "pod.json").write_text(json.dumps(loose))
    with pytest.raises(CommandError, match='violates PodSecurity "restricted'):
        shop.run("create", "--dry-run=server", f"--filename={tmp_path / 'pod.json'}")


def in_worker(shop: Shop, pod: str, code: str) -> str:
    """Run Python in a worker's container, as its user."""
    return shop.run("exec", pod, "--", "python", "-c", code).strip()


def test_a_worker_has_no_privilege_and_no_token(shop: Shop) -> None:
    pod = min(shop.ready_pods())
    code = "import os; print(os.getuid(), os.path.exists('/var/run/secrets'), *open('/proc/self/status'))"
    seen = in_worker(shop, pod, code)
    assert seen.startswith("65532 False ")
    values = dict(line.split(":\t", 1) for line in map(str.strip, seen.splitlines()[1:]) if ":\t" in line)
    assert int(values["CapBnd"], 16) == 0
    assert values["NoNewPrivs"] == "1"
    assert values["Seccomp"] == "2", "a filter"
    with pytest.raises(CommandError, match="Read-only file system"):
        in_worker(shop, pod, "open('/forged', 'w')")


def test_a_worker_sees_its_own_socket_and_no_other(shop: Shop) -> None:
    code = f"import os; print(os.stat({SOCKET!r}).st_ino)"
    assert len({in_worker(shop, pod, code) for pod in shop.ready_pods()}) == 2
    mounts = "print(*[l for l in open('/proc/self/mountinfo') if 'kneescale' in l])"
    uids = shop.uids("resourceclaims")
    for pod in shop.ready_pods():
        found = in_worker(shop, pod, mounts)
        assert [uid for uid in uids.values() if uid in found] == [uids[pod]]


@pytest.mark.parametrize(
    "attempt",
    [
        f"import os; os.unlink({SOCKET!r})",
        f"import os; os.rename({SOCKET!r}, {SOCKET + '.old'!r})",
        f"import socket; socket.socket(socket.AF_UNIX).bind({SOCKET + '.new'!r})",
    ],
    ids=["remove", "move", "bind"],
)
def test_a_worker_neither_removes_nor_replaces_its_socket(shop: Shop, attempt: str) -> None:
    for pod in shop.ready_pods():
        with pytest.raises(CommandError, match="Read-only file system"):
            in_worker(shop, pod, attempt)


def test_another_pod_with_the_workers_user_on_its_node_sees_no_socket(shop: Shop) -> None:
    worker = shop.get("pods")["items"][0]["spec"]
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    code = "import os; print(os.path.exists('/run/kneescale'), os.path.exists('/var/lib/kneescale'))"
    stranger: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "stranger"},
        "spec": {
            "nodeName": worker["nodeName"],
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "stranger",
                    "image": worker["containers"][0]["image"],
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-c", code],
                    "securityContext": security,
                }
            ],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        },
    }
    shop.apply(stranger)
    shop.run("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/stranger", "--timeout=60s")
    seen = shop.run("logs", "stranger")
    shop.run("delete", "pod", "stranger")
    assert seen.split() == ["False", "False"]


def test_an_agent_has_no_capability(kubectl: Kubectl, local_cluster: LocalCluster) -> None:
    for node in local_cluster.nodes():
        pod = Kneescale(kubectl).agent_on(node.name)["metadata"]["name"]
        seen = kubectl.run(f"--namespace={NAMESPACE}", "exec", pod, "--", "cat", "/proc/1/status")
        values = dict(line.split(":\t", 1) for line in seen.splitlines())
        assert [int(values[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")] == [0, 0, 0]
        assert values["NoNewPrivs"] == "1"
        assert values["Seccomp"] == "2", "a filter"


@pytest.fixture
def token(kubectl: Kubectl) -> str:
    """The token of node2's agent."""
    pod = Kneescale(kubectl).agent_on("node2")["metadata"]
    bound = [
        "--bound-object-kind=Pod",
        f"--bound-object-name={pod['name']}",
        f"--bound-object-uid={pod['uid']}",
    ]
    return kubectl.run(f"--namespace={NAMESPACE}", "create", "token", AGENT, *bound).strip()


@pytest.fixture
def as_agent_of_node2(token: str, cluster: Cluster, tmp_path: Path) -> Callable[..., str]:
    """A kubectl that has nothing but that token."""
    config = json.loads(cluster.kubeconfig.read_text())
    (user,) = config["users"]
    user["user"] = {"token": token}
    kubeconfig = tmp_path / "agent.kubeconfig"
    kubeconfig.write_text(json.dumps(config))
    return Kubectl(cluster.kubectl, kubeconfig, Shell()).run


@pytest.fixture
def ask(token: str, cluster: Cluster) -> Callable[..., Object]:
    """Asks the server with that token for a change, which is not kept; what it answers, refusals as well.

    Not by kubectl, which reads an object before it changes it.
    """
    (known,) = json.loads(cluster.kubeconfig.read_text())["clusters"]
    authority = base64.b64decode(known["cluster"]["certificate-authority-data"]).decode()
    trusting = ssl.create_default_context(cadata=authority)

    def ask(method: str, path: str, body: Object | None = None) -> Object:
        content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {token}", "Content-Type": content_type}
        data = None if body is None else json.dumps(body).encode()
        url = f"{known['cluster']['server']}{path}?dryRun=All"
        try:
            with urlopen(Request(url, data, headers, method=method), context=trusting) as answer:
                return dict(json.load(answer))
        except HTTPError as error:
            with error:
                return dict(json.load(error))

    return ask


def of_node(as_agent: Callable[..., str], kind: str, node: str) -> list[Object]:
    """A node's objects of a kind."""
    found = as_agent("get", kind, f"--field-selector=spec.nodeName={node}", "-o=json")
    return list(json.loads(found)["items"])


def a_schedule(as_agent: Callable[..., str], node: str) -> str:
    """The path of one of a node's GPUSchedules."""
    return f"{SCHEDULES}/{of_node(as_agent, 'gpuschedules', node)[0]['metadata']['name']}"


def next_slice(as_agent: Callable[..., str], node: str) -> tuple[str, Object]:
    """The path of a node's ResourceSlice, and what would replace it."""
    (published,) = of_node(as_agent, "resourceslices", node)
    published["spec"]["pool"]["generation"] += 1
    return f"{SLICES}/{published['metadata']['name']}", published


def test_an_agent_writes_what_is_of_its_own_node(
    as_agent_of_node2: Callable[..., str], ask: Callable[..., Object]
) -> None:
    schedule = a_schedule(as_agent_of_node2, "node2")
    written = ask("PATCH", f"{schedule}/status", {"status": {"summary": "its own"}})
    assert written["status"]["summary"] == "its own"
    path, replacement = next_slice(as_agent_of_node2, "node2")
    assert ask("PUT", path, replacement)["spec"] == replacement["spec"]
    assert ask("DELETE", path)["kind"] == "ResourceSlice"


@pytest.mark.parametrize(
    "patch",
    [
        {"status": {"capacity": {"cpu": "1000"}}},
        {"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": 666}}}},
        {"status": {"volumesAttached": [{"name": "mine", "devicePath": "/dev/mine"}]}},
        {"status": {"conditions": []}},
        {"metadata": {"labels": {"node-restriction.kubernetes.io/mine": "yes"}}},
        {"metadata": {"annotations": {"example.org/mine": "yes"}}},
        {"metadata": {"finalizers": ["example.org/mine"]}},
        {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "b"}]}},
    ],
    ids=lambda patch: next(key for fields in patch.values() for key in fields),
)
def test_an_agent_writes_no_more_than_its_condition_of_its_own_node(
    ask: Callable[..., Object], patch: Object
) -> None:
    answer = ask("PATCH", "/api/v1/nodes/node2/status", patch)
    assert "nothing of its node but the condition KneescaleGPUsReady" in answer["message"]


def test_an_agent_writes_nothing_of_another_node(
    as_agent_of_node2: Callable[..., str], ask: Callable[..., Object]
) -> None:
    says = "the agent of node node2 may not write an object of node node1"
    schedule = a_schedule(as_agent_of_node2, "node1")
    assert says in ask("PATCH", f"{schedule}/status", {"status": {"summary": "forged"}})["message"]
    assert says in ask("PATCH", "/api/v1/nodes/node1/status", {"status": {"conditions": []}})["message"]
    path, replacement = next_slice(as_agent_of_node2, "node1")
    assert says in ask("PUT", path, replacement)["message"]
    assert says in ask("DELETE", path)["message"]


@pytest.mark.parametrize(
    ("name", "driver", "pool"),
    [
        (f"node2-{DRIVER}", DRIVER, "node1"),
        (f"node2-{DRIVER}", "gpu.nvidia.com", "node2"),
        # No node of this cluster: its name must be free for its agent.
        (f"node3-{DRIVER}", DRIVER, "node2"),
    ],
    ids=["pool", "driver", "name"],
)
def test_an_agent_takes_the_place_of_no_other_slice(
    ask: Callable[..., Object], name: str, driver: str, pool: str
) -> None:
    newest = {"name": pool, "generation": 10**9, "resourceSliceCount": 1}
    forged = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": name},
        "spec": {"driver": driver, "nodeName": "node2", "pool": newest, "devices": []},
    }
    assert f"may write no ResourceSlice but node2-{DRIVER}," in ask("POST", SLICES, forged)["message"]


def test_an_agent_writes_no_schedule(
    as_agent_of_node2: Callable[..., str], ask: Callable[..., Object]
) -> None:
    schedule = a_schedule(as_agent_of_node2, "node2")
    assert ask("PATCH", schedule, {"spec": {"policy": "Temporal"}})["reason"] == "Forbidden"


@pytest.mark.parametrize(
    "forbidden",
    [
        "get secrets --all-namespaces",
        "get pods --all-namespaces",
        "get resourceclaims --all-namespaces",
        "get inferencemodels --all-namespaces",
        "delete gpuschedules --all --dry-run=server",
        "delete node node2 --dry-run=server",
        "create namespace mine --dry-run=server",
    ],
)
def test_an_agent_gets_at_nothing_else(as_agent_of_node2: Callable[..., str], forbidden: str) -> None:
    with pytest.raises(CommandError, match="orbidden"):
        as_agent_of_node2(*forbidden.split())
