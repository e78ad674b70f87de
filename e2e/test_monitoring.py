"""A real Prometheus finds all parts by itself, and answers for the models by the shipped rules."""

import json

import pytest
import yaml

from e2e.clients import failures, steady_load
from e2e.cluster.golang import sources
from e2e.cluster.kubectl import Kubectl
from e2e.demo.system import NAMESPACE, WORKLOADS
from e2e.prometheus import MONITORING, Prometheus
from e2e.shop import MOBILENET, Shop
from harness.progress import Progress
from harness.runner import Shell
from harness.wait import wait_until

pytestmark = pytest.mark.cluster

PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
RATE_RPS = 20
ANSWERS = 10 * RATE_RPS
#: From a request to its place in what the rules record: two scrapes for a rate, and an evaluation.
TOLD_S = 60.0


def test_every_part_is_found_and_answers(prometheus: Prometheus, shop: Shop) -> None:
    wanted = {
        ("kneescale-operator", NAMESPACE): 1,
        ("kneescale-agent", NAMESPACE): 2,
        ("kneescale-worker", shop.name): 1,
    }

    def up() -> dict[tuple[str, str], int]:
        series = prometheus.ask("sum by (job, namespace) (up)")
        return {(labels["job"], labels["namespace"]): int(value) for labels, value in series}

    def all_answer() -> bool:
        errors = {target["lastError"] for target in prometheus.targets()}
        return wanted.items() <= up().items() and errors == {""}

    wait_until(all_answer, "all targets are up", TOLD_S)
    nodes = prometheus.ask('up{job="kneescale-agent"}')
    assert {labels["node"] for labels, _ in nodes} == {"node1", "node2"}


def test_every_rule_can_be_worked_out(prometheus: Prometheus) -> None:
    rules = prometheus.rules
    wait_until(lambda: all(rule["health"] == "ok" for rule in rules()), "all rules are evaluated", TOLD_S)
    assert len(rules()) == len(_shipped_rules())


def test_requests_are_counted_and_attainment_is_told_while_they_come(
    prometheus: Prometheus, shop: Shop
) -> None:
    mine = f'{{namespace="{shop.name}",model="{MOBILENET}"}}'
    with steady_load(shop, MOBILENET, RATE_RPS) as outcomes:
        wait_until(lambda: len(outcomes) >= ANSWERS, f"{ANSWERS} answers", TOLD_S)
        recorded = f"model:kneescale_slo_attainment:ratio_rate5m{mine}"
        wait_until(lambda: bool(prometheus.ask(recorded)), "the rules tell the attainment", TOLD_S)
        ((labels, attainment),) = prometheus.ask(recorded)
    assert failures(outcomes) == []
    assert labels["backend"] == "emulated"
    assert 0 <= attainment <= 1

    sent = len(outcomes)
    # Every request once: by the worker where it ends, by the agent where its batch does.
    for counter in ("kneescale_worker_slo_requests_total", "kneescale_granted_items_total"):
        counted = f"sum({counter}{mine})"
        wait_until(lambda: prometheus.ask(counted) == [({}, sent)], f"{sent} in {counter}", TOLD_S)  # noqa: B023
    ((_, area),) = prometheus.ask(f"sum(kneescale_used_gpu_seconds_total{mine})")
    ((_, granted),) = prometheus.ask(f"sum(kneescale_granted_gpu_seconds_total{mine})")
    assert 0 < area <= granted


def test_the_operator_tells_what_it_wants_and_the_agents_what_lies_idle(
    prometheus: Prometheus, shop: Shop
) -> None:
    mine = f'{{namespace="{shop.name}",model="{MOBILENET}"}}'
    wait_until(lambda: bool(prometheus.ask(f"kneescale_model_info{mine}")), "the model is told", TOLD_S)
    assert [value for _, value in prometheus.ask(f"kneescale_model_desired_replicas{mine}")] == [1]
    budget = f"model:kneescale_slo_error_budget:ratio{mine}"
    wait_until(lambda: bool(prometheus.ask(budget)), "the budget is told", TOLD_S)
    assert [value for _, value in prometheus.ask(budget)] == [pytest.approx(0.01)]
    idle = "device:kneescale_idle_gpu:ratio_rate5m"
    wait_until(lambda: len(prometheus.ask(idle)) == 4, "four GPUs are told", TOLD_S)
    assert all(0 <= value <= 1.01 for _, value in prometheus.ask(idle))


def test_the_prometheus_operators_own_crds_take_the_component(kubectl: Kubectl) -> None:
    crds = sources(PROMETHEUS_OPERATOR, Shell(), Progress()) / "example" / "prometheus-operator-crd"
    for kind in ("podmonitors", "prometheusrules"):
        crd = crds / f"monitoring.coreos.com_{kind}.yaml"
        kubectl.run("apply", "--server-side", f"--filename={crd}")
        served = f"{kind}.monitoring.coreos.com"
        wait_until(lambda: kubectl.serves(served), f"{served} are served", TOLD_S)  # noqa: B023
    for name, made in (("podmonitors.yaml", 3), ("prometheusrule.yaml", 1)):
        told = kubectl.run(
            "create", "--dry-run=server", "--validate=strict", f"--filename={MONITORING / name}"
        )
        assert told.count("created (server dry run)") == made


def test_every_line_of_the_logs_is_an_object_and_names_what_it_is_about(kubectl: Kubectl, shop: Shop) -> None:
    for workload in WORKLOADS:
        lines = kubectl.run(f"--namespace={NAMESPACE}", "logs", workload).splitlines()
        assert lines
        assert all("severity" in json.loads(line) for line in lines)
    decisions = kubectl.run(f"--namespace={NAMESPACE}", "logs", WORKLOADS[0])
    told = [line for line in map(json.loads, decisions.splitlines()) if line.get("namespace") == shop.name]
    placed = [line for line in told if line.get("reason") == "Placed"]
    assert [line["model"] for line in placed] == [MOBILENET]
    assert placed[0]["device"].startswith("node")
    (pod,) = shop.uids("pods")
    worker = [json.loads(line) for line in shop.run("logs", pod).splitlines()]
    assert {(line["model"], line["device"][:3]) for line in worker} == {(MOBILENET, "gpu")}


def _shipped_rules() -> list[object]:
    groups = yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]
