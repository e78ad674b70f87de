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

pytestmark = pytest.mark.cluster

SCHEDULES = "/apis/kneescale.dev/v1alpha1/gpuschedules"


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
    code = "import os; print(os.stat('/run/kneescale/dispatcher.sock').st_ino)"
    assert len({in_worker(shop, pod, code) for pod in shop.ready_pods()}) == 2
    mounts = "print(*[l for l in open('/proc/self/mountinfo') if 'kneescale' in l])"
    uids = shop.uids("resourceclaims")
    for pod in shop.ready_pods():
        found = in_worker(shop, pod, mounts)
        assert [uid for uid in uids.values() if uid in found] == [uids[pod]]
    for pod in shop.ready_pods():
        with pytest.raises(CommandError, match="Read-only file system"):
            in_worker(shop, pod, "import os; os.unlink('/run/kneescale/dispatcher.sock')")


def test_another_pod_with_the_workers_user_sees_no_socket(shop: Shop, tmp_path: Path) -> None:
    (image,) = {pod["spec"]["containers"][0]["image"] for pod in shop.get("pods")["items"]}
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    code = "import os; print(os.path.exists('/run/kneescale'), os.path.exists('/var/lib/kneescale'))"
    stranger: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "stranger"},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "stranger",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-c", code],
                    "securityContext": security,
                }
            ],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
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
def forge_status(token: str, cluster: Cluster) -> Callable[[str, Object], Object]:
    """Tries to patch an object by way of its status, which kubectl reads first; what the server answers."""
    (known,) = json.loads(cluster.kubeconfig.read_text())["clusters"]
    authority = base64.b64decode(known["cluster"]["certificate-authority-data"]).decode()
    trusting = ssl.create_default_context(cadata=authority)

    def forge(path: str, patch: Object) -> Object:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"}
        body = json.dumps(patch).encode()
        url = f"{known['cluster']['server']}{path}/status?dryRun=All"
        request = Request(url, body, headers, method="PATCH")
        try:
            with urlopen(request, context=trusting) as answer:
                return dict(json.load(answer))
        except HTTPError as error:
            with error:
                return dict(json.load(error))

    return forge


def of_node(as_agent: Callable[..., str], kind: str, node: str) -> list[str]:
    """The names of a node's objects of a kind."""
    return as_agent("get", kind, f"--field-selector=spec.nodeName={node}", "-o=name").split()


def test_an_agent_writes_what_is_of_its_own_node(
    as_agent_of_node2: Callable[..., str], forge_status: Callable[[str, Object], Object]
) -> None:
    (*_, schedule) = of_node(as_agent_of_node2, "gpuschedules", "node2")
    written = forge_status(f"{SCHEDULES}/{schedule.partition('/')[2]}", {"status": {"summary": "its own"}})
    assert written["status"]["summary"] == "its own"
    (published,) = of_node(as_agent_of_node2, "resourceslices", "node2")
    assert "deleted" in as_agent_of_node2("delete", published, "--dry-run=server")


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
    forge_status: Callable[[str, Object], Object], patch: Object
) -> None:
    answer = forge_status("/api/v1/nodes/node2", patch)
    assert "nothing of its node but the condition KneescaleGPUsReady" in answer["message"]


def test_an_agent_writes_nothing_of_another_node(
    as_agent_of_node2: Callable[..., str], forge_status: Callable[[str, Object], Object]
) -> None:
    says = "the agent of node node2 may not write an object of node node1"
    (*_, schedule) = of_node(as_agent_of_node2, "gpuschedules", "node1")
    forged = {"status": {"summary": "forged"}}
    assert says in forge_status(f"{SCHEDULES}/{schedule.partition('/')[2]}", forged)["message"]
    assert says in forge_status("/api/v1/nodes/node1", {"status": {"conditions": []}})["message"]
    (published,) = of_node(as_agent_of_node2, "resourceslices", "node1")
    with pytest.raises(CommandError, match=says):
        as_agent_of_node2("delete", published, "--dry-run=server")


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
