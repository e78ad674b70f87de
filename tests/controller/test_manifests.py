"""What the manifests render to: one step, least privilege, one place for each image."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster.programs import build_all
from harness.progress import Progress
from harness.runner import Shell
from kneescale.controller.resources import WATCHED

MANIFESTS = Path(__file__).parents[2] / "manifests"
OVERLAYS = ("local", "local-emulated", "nvidia")
Objects = dict[tuple[str, str], dict[str, Any]]


def render(kubectl: Path, folder: Path) -> Objects:
    command = [str(kubectl), "kustomize", str(folder)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {(obj["kind"], obj["metadata"]["name"]): obj for obj in yaml.safe_load_all(text)}


@pytest.fixture(scope="session")
def kubectl() -> Path:
    return build_all(Shell(), Progress()).kubectl


@pytest.fixture(scope="session", params=OVERLAYS)
def objects(kubectl: Path, request: pytest.FixtureRequest) -> Objects:
    return render(kubectl, MANIFESTS / "overlays" / request.param)


def containers(objects: Objects) -> Iterator[dict[str, Any]]:
    for kind in ("Deployment", "DaemonSet"):
        for (found, _), obj in objects.items():
            if found == kind:
                yield from obj["spec"]["template"]["spec"]["containers"]


def rules(objects: Objects) -> list[dict[str, Any]]:
    return [rule for (kind, _), obj in objects.items() if kind == "ClusterRole" for rule in obj["rules"]]


def rights(objects: Objects, part: str) -> set[tuple[str, str]]:
    """Resources and verbs in the role of a part."""
    return {
        (resource, verb)
        for rule in objects["ClusterRole", f"kneescale-{part}"]["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def environment(objects: Objects, kind: str, name: str) -> dict[str, str]:
    (container,) = objects[kind, name]["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable.get("value", "") for variable in container["env"]}


def test_the_crds_and_the_device_class_come_along(objects: Objects) -> None:
    crds = {name for kind, name in objects if kind == "CustomResourceDefinition"}
    assert crds == {
        f"{plural}.kneescale.dev" for plural in ("inferencemodels", "modelprofiles", "gpuschedules")
    }
    assert ("DeviceClass", "gpu.kneescale.dev") in objects


def test_no_rule_has_a_wildcard_or_reaches_secrets(objects: Objects) -> None:
    assert rules(objects)
    for rule in rules(objects):
        assert not {"*", "secrets"} & {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}


@pytest.mark.parametrize("part", ["agent", "operator"])
def test_the_security_page_has_each_right_and_no_other(objects: Objects, part: str) -> None:
    roles = {name.removeprefix("kneescale-") for kind, name in objects if kind in ("Role", "ClusterRole")}
    assert roles == {"agent", "operator", "edit", "view"}
    assert documented_rights(part) == rights(objects, part)


def security_page(title: str) -> str:
    """A section of docs/security.md."""
    page = (MANIFESTS.parent / "docs" / "security.md").read_text()
    return page.split(f"## {title}\n")[1].split("\n## ")[0]


def documented_rights(part: str) -> set[tuple[str, str]]:
    """Resources and verbs in the table of docs/security.md."""
    section = security_page(f"API rights of the {part}")
    return {
        (resource, verb)
        for resources, verbs in re.findall(r"^\| (`.+`) \| (.+?) \|", section, re.MULTILINE)
        for resource in re.findall(r"`(.+?)`", resources)
        for verb in verbs.removesuffix(", by name").split(", ")
    }


def test_the_operator_may_read_what_it_watches_and_get_only_what_may_be_somebody_elses(
    objects: Objects,
) -> None:
    given = rights(objects, "operator")
    for verb in ("list", "watch"):
        assert {resource for resource, may in given if may == verb} == {kind.plural for kind in WATCHED}
    labelled = {kind.plural for kind in WATCHED if kind.label_selector}
    assert {resource for resource, may in given if may == "get"} == labelled


def test_the_network_policy_on_the_security_page_is_for_the_agents_port(objects: Objects) -> None:
    (block,) = re.findall(r"```yaml\n(.+?)```", security_page("The agent's port"), re.DOTALL)
    policy, agent = yaml.safe_load(block), objects["DaemonSet", "kneescale-agent"]
    assert policy["metadata"]["namespace"] == agent["metadata"]["namespace"]
    assert policy["spec"]["podSelector"] == agent["spec"]["selector"]
    (open_to,) = policy["spec"]["ingress"]
    (container,) = agent["spec"]["template"]["spec"]["containers"]
    assert [each["port"] for each in open_to["ports"]] == [
        each["containerPort"] for each in container["ports"]
    ]


def test_each_part_has_an_account_of_its_own(objects: Objects) -> None:
    accounts = {
        name: obj["spec"]["template"]["spec"]["serviceAccountName"]
        for (kind, name), obj in objects.items()
        if kind in ("Deployment", "DaemonSet")
    }
    assert {"kneescale-operator", "kneescale-agent"} <= accounts.keys()
    assert all(name == account for name, account in accounts.items())


def test_who_may_edit_a_namespace_may_have_models_there(objects: Objects) -> None:
    verbs: dict[str, dict[str, set[str]]] = {"edit": {}, "view": {}}
    for may, found in verbs.items():
        role = objects["ClusterRole", f"kneescale-{may}"]
        assert role["metadata"]["labels"][f"rbac.authorization.k8s.io/aggregate-to-{may}"] == "true"
        for rule in role["rules"]:
            assert rule["apiGroups"] == ["kneescale.dev"]
            found |= {resource: set(rule["verbs"]) for resource in rule["resources"]}
    # GPUSchedules name the models of all namespaces, and a status is the operator's.
    namespaced = {"inferencemodels", "modelprofiles"}
    assert verbs["view"].keys() == verbs["edit"].keys() == namespaced | {"inferencemodels/scale"}
    for resource in namespaced:
        assert verbs["view"][resource] == {"get", "list", "watch"}
        assert verbs["edit"][resource] == {"create", "update", "patch", "delete", "deletecollection"}


def test_pods_of_critical_priority_are_let_in_where_that_takes_a_quota(objects: Objects) -> None:
    pods = [
        obj["spec"]["template"]["spec"]
        for (kind, _), obj in objects.items()
        if kind in ("Deployment", "DaemonSet")
    ]
    quota = objects["ResourceQuota", "kneescale-critical-pods"]
    assert quota["metadata"]["namespace"] == "kneescale-system"
    ((scope,),) = [quota["spec"]["scopeSelector"]["matchExpressions"]]
    assert (scope["scopeName"], scope["operator"]) == ("PriorityClass", "In")
    assert {pod["priorityClassName"] for pod in pods} == set(scope["values"])


def test_agents_are_held_to_their_node_in_whatever_namespace(kubectl: Path, tmp_path: Path) -> None:
    user = tmp_path / "user"
    user.mkdir()
    (tmp_path / "manifests").symlink_to(MANIFESTS)
    kustomization = {"namespace": "gpus", "resources": ["../manifests/overlays/local"]}
    (user / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    objects = render(kubectl, user)
    agent = objects["DaemonSet", "kneescale-agent"]
    account = agent["spec"]["template"]["spec"]["serviceAccountName"]
    name = f"system:serviceaccount:{agent['metadata']['namespace']}:{account}"
    assert name == "system:serviceaccount:gpus:kneescale-agent"
    policy = objects["ValidatingAdmissionPolicy", "kneescale-agent-own-node"]["spec"]
    (condition,) = policy["matchConditions"]
    parts = re.findall(r'username\.(starts|ends)With\("(.+?)"\)', condition["expression"])
    assert len(parts) == 2
    assert all(name.startswith(part) if end == "starts" else name.endswith(part) for end, part in parts)


def test_no_container_can_write_to_its_image(objects: Objects) -> None:
    for container in containers(objects):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_no_container_can_gain_privileges_but_the_agent_on_gpus(kubectl: Path) -> None:
    privileged = []
    for overlay in OVERLAYS:
        for container in containers(render(kubectl, MANIFESTS / "overlays" / overlay)):
            security = container["securityContext"]
            if security.get("privileged"):
                privileged.append((overlay, container["name"]))
            else:
                assert security["allowPrivilegeEscalation"] is False
                assert security["capabilities"]["drop"] == ["ALL"]
    assert privileged == [("nvidia", "agent")]


def test_the_state_of_a_pod_says_why_its_container_ended(objects: Objects) -> None:
    for container in containers(objects):
        assert container["terminationMessagePolicy"] == "FallbackToLogsOnError", container["name"]


def test_every_container_asks_for_resources_and_can_be_probed(objects: Objects) -> None:
    for container in containers(objects):
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        # A probe that restarted the MPS daemons would end the GPU work of all their clients.
        if container["name"] != "mps":
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()


def test_the_operator_asks_for_what_plans_take_but_not_of_a_device_that_is_its_nodes_cores(
    kubectl: Path,
) -> None:
    asked = {}
    for overlay in OVERLAYS:
        objects = render(kubectl, MANIFESTS / "overlays" / overlay)
        (container,) = objects["Deployment", "kneescale-operator"]["spec"]["template"]["spec"]["containers"]
        asked[overlay] = container["resources"]["requests"]["cpu"]
    assert asked == {"local": "20m", "local-emulated": "20m", "nvidia": "250m"}


def test_the_operator_leaves_a_dead_node_soon_and_finds_room_elsewhere(objects: Objects) -> None:
    pod = objects["Deployment", "kneescale-operator"]["spec"]["template"]["spec"]
    waits = {each["key"]: (each["effect"], each["tolerationSeconds"]) for each in pod["tolerations"]}
    assert waits == {
        "node.kubernetes.io/not-ready": ("NoExecute", 30),
        "node.kubernetes.io/unreachable": ("NoExecute", 30),
    }
    assert pod["priorityClassName"] == "system-cluster-critical"


def test_an_agent_that_does_not_answer_is_ended_within_20_seconds_and_not_at_its_first_slowness(
    objects: Objects,
) -> None:
    (agent,) = (each for each in containers(objects) if each["name"] == "agent")
    probe = agent["livenessProbe"]
    assert probe["periodSeconds"] * (1 + probe["failureThreshold"]) <= 20
    assert probe["failureThreshold"] >= 3
    assert probe["timeoutSeconds"] >= 5
    assert probe["terminationGracePeriodSeconds"] == 1


def test_the_agent_gets_its_backend_from_the_overlay(kubectl: Path) -> None:
    backends = {}
    for overlay in OVERLAYS:
        objects = render(kubectl, MANIFESTS / "overlays" / overlay)
        (data,) = (obj["data"] for (kind, _), obj in objects.items() if kind == "ConfigMap")
        backends[overlay] = data["KNEESCALE_BACKEND"]
    assert backends == {"local": "cpu", "local-emulated": "emulated", "nvidia": "cuda-mps"}


def test_the_agent_on_gpus_sees_the_nodes_driver(kubectl: Path) -> None:
    objects = render(kubectl, MANIFESTS / "overlays" / "nvidia")
    (data,) = (obj["data"] for (kind, _), obj in objects.items() if kind == "ConfigMap")
    pod = objects["DaemonSet", "kneescale-agent"]["spec"]["template"]["spec"]
    (agent,) = pod["containers"]
    mounts = {mount["mountPath"]: mount for mount in agent["volumeMounts"]}
    assert mounts[data["KNEESCALE_DRIVER_ROOT"]]["readOnly"] is True
    assert "/dev" in mounts


def test_agent_and_mps_daemons_run_on_gpu_nodes_alone(kubectl: Path) -> None:
    objects = render(kubectl, MANIFESTS / "overlays" / "nvidia")
    for name in ("kneescale-agent", "kneescale-mps"):
        labels = {term["matchExpressions"][0]["key"] for term in node_terms(objects["DaemonSet", name])}
        assert "nvidia.com/gpu.present" in labels


def test_a_label_keeps_all_that_holds_a_gpu_off_its_node(kubectl: Path) -> None:
    objects = render(kubectl, MANIFESTS / "overlays" / "nvidia")
    off = {"key": "kneescale.dev/gpu", "operator": "NotIn", "values": ["false"]}
    on = off | {"operator": "In", "values": ["true"]}
    for (kind, _), found in objects.items():
        if kind == "DaemonSet":
            for term in node_terms(found):
                assert on in term["matchExpressions"] or off in term["matchExpressions"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_of_the_users_names_each_image_in_one_place(
    kubectl: Path, tmp_path: Path, overlay: str
) -> None:
    user = tmp_path / "user"
    user.mkdir()
    (tmp_path / "manifests").symlink_to(MANIFESTS)
    kustomization = {
        "resources": [f"../manifests/overlays/{overlay}"],
        "images": [
            {"name": f"kneescale/{part}", "newName": f"registry.example/{part}", "newTag": "v1"}
            for part in ("operator", "worker")
        ],
    }
    (user / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    objects = render(kubectl, user)
    assert {container["image"] for container in containers(objects)} == {"registry.example/operator:v1"}
    operator = environment(objects, "Deployment", "kneescale-operator")
    assert operator["KNEESCALE_WORKER_IMAGE"] == "registry.example/worker:v1"


def test_nodes_with_sm_partitions_have_agents_of_their_own(kubectl: Path, tmp_path: Path) -> None:
    user = tmp_path / "user"
    user.mkdir()
    (tmp_path / "manifests").symlink_to(MANIFESTS)
    kustomization = {
        "resources": ["../manifests/overlays/nvidia"],
        "components": ["../manifests/components/sm-partitions"],
        "images": [{"name": "kneescale/operator", "newName": "registry.example/operator"}],
        "patches": [
            {
                "target": {"kind": "DaemonSet", "labelSelector": "app.kubernetes.io/name=kneescale-agent"},
                "patch": '[{"op": "add", "path": "/spec/minReadySeconds", "value": 7}]',
            }
        ],
    }
    (user / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    objects, plain = render(kubectl, user), render(kubectl, MANIFESTS / "overlays" / "nvidia")
    added = dict(objects.keys() - plain.keys())
    assert added.keys() == {"DaemonSet", "ConfigMap"}

    theirs, usual = (objects["DaemonSet", name] for name in (added["DaemonSet"], "kneescale-agent"))
    (container,), (model,) = (each["spec"]["template"]["spec"]["containers"] for each in (theirs, usual))
    assert container["envFrom"] == [{"configMapRef": {"name": added["ConfigMap"]}}]
    assert objects["ConfigMap", added["ConfigMap"]]["data"]["KNEESCALE_TIER"] == "sm-partitions"
    assert container | {"envFrom": model["envFrom"]} == model
    assert [each["spec"]["minReadySeconds"] for each in (theirs, usual)] == [7, 7]
    # No node has both, and each of its pods is one DaemonSet's alone.
    assert theirs["spec"]["template"]["spec"]["nodeSelector"] == {"kneescale.dev/tier": "sm-partitions"}
    elsewhere = {"key": "kneescale.dev/tier", "operator": "NotIn", "values": ["sm-partitions"]}
    for term in node_terms(usual):
        assert elsewhere in term["matchExpressions"]
    selectors = [each["spec"]["selector"]["matchLabels"].items() for each in (theirs, usual)]
    assert selectors[0] > selectors[1]


def node_terms(workload: dict[str, Any]) -> list[dict[str, Any]]:
    affinity = workload["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    required = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
    terms: list[dict[str, Any]] = required["nodeSelectorTerms"]
    return terms


def test_the_example_to_copy_leaves_no_image_unnamed(kubectl: Path) -> None:
    objects = render(kubectl, MANIFESTS / "overlays" / "nvidia-example")
    images = {container["image"] for container in containers(objects)}
    images.add(environment(objects, "Deployment", "kneescale-operator")["KNEESCALE_WORKER_IMAGE"])
    assert {image.split("/")[0] for image in images} == {"registry.example.org"}
    assert len(images) == 2
