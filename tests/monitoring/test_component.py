"""The kustomize component finds the pods that there are, as the plain scrape configuration does."""

import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from e2e.cluster.programs import build_all
from harness.progress import Progress
from harness.runner import Shell
from tests.plan.cluster import emulated_world, model
from tests.plan.cluster_life import settle
from tools.monitoring.generated import COMPONENT
from tools.monitoring.parts import PARTS

Objects = dict[tuple[str, str], dict[str, Any]]
JOBS = {part.job: part.port for part in PARTS}


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """All that an overlay with the component applies."""
    folder = tmp_path_factory.mktemp("overlay")
    (folder / "manifests").symlink_to(COMPONENT.parents[1])
    user = folder / "user"
    user.mkdir()
    kustomization = {
        "resources": ["../manifests/overlays/local"],
        "components": ["../manifests/components/monitoring"],
    }
    (user / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    kubectl = build_all(Shell(), Progress()).kubectl
    told = subprocess.run([kubectl, "kustomize", user], check=True, capture_output=True, text=True).stdout
    return {(obj["kind"], obj["metadata"]["name"]): obj for obj in yaml.safe_load_all(told)}


def pods(objects: Objects) -> Iterator[Mapping[str, Any]]:
    """A pod of each part: those of the manifests, and a worker that the plan wants."""
    for kind, name in (("Deployment", "kneescale-operator"), ("DaemonSet", "kneescale-agent")):
        yield objects[kind, name]["spec"]["template"]
    world = emulated_world()
    world.create(model("resnet50"))
    settle(world)
    (worker,) = world.find("Pod")
    yield worker


def selected(labels: Mapping[str, str], pods: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    (found,) = [pod for pod in pods if labels.items() <= pod["metadata"]["labels"].items()]
    return found


def port_number(pod: Mapping[str, Any], name: str) -> int:
    ports = [port for container in pod["spec"]["containers"] for port in container["ports"]]
    (number,) = [port["containerPort"] for port in ports if port["name"] == name]
    return int(number)


@pytest.mark.parametrize("job", JOBS)
def test_a_pod_monitor_selects_its_pods_and_their_port(objects: Objects, job: str) -> None:
    spec = objects["PodMonitor", job]["spec"]
    pod = selected(spec["selector"]["matchLabels"], list(pods(objects)))
    (endpoint,) = spec["podMetricsEndpoints"]
    assert port_number(pod, endpoint["port"]) == JOBS[job]
    labels = {each["targetLabel"]: each for each in endpoint["relabelings"]}
    assert labels["job"]["replacement"] == job
    assert labels["node"]["sourceLabels"] == ["__meta_kubernetes_pod_node_name"]


def test_a_prometheus_without_the_operator_looks_for_the_same_pods(objects: Objects) -> None:
    config = yaml.safe_load((COMPONENT / "prometheus.yml").read_text())
    assert {each["job_name"] for each in config["scrape_configs"]} == JOBS.keys()
    for each in config["scrape_configs"]:
        ((selector,),) = [found["selectors"] for found in each["kubernetes_sd_configs"]]
        labels = dict(pair.split("=") for pair in selector["label"].split(","))
        assert labels == objects["PodMonitor", each["job_name"]]["spec"]["selector"]["matchLabels"]


def test_pods_say_where_they_are_to_be_scraped(objects: Objects) -> None:
    told = [pod["metadata"]["annotations"] for pod in pods(objects)]
    assert [int(annotations["prometheus.io/port"]) for annotations in told] == list(JOBS.values())
    assert {annotations["prometheus.io/scrape"] for annotations in told} == {"true"}


def test_the_dashboards_come_where_grafanas_sidecar_looks(objects: Objects) -> None:
    dashboards = objects["ConfigMap", "kneescale-dashboards"]
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1"
    names = {path.name for path in (COMPONENT / "dashboards").iterdir()}
    assert dashboards["data"].keys() == names
