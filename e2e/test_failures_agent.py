"""Agents that end, are upgraded, or are told nonsense: no request is lost, and the last good word counts."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

from e2e.cluster.faults import Container
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.cluster.node import Node
from e2e.demo.system import AGENT, NAMESPACE, OPERATOR, Kneescale
from e2e.leaks import wait_until_tidy
from e2e.shop import MOBILENET, STARTED_S, Object, Shop
from e2e.trial import BACK_S, come_through, mobilenet_shop
from harness.debian import ensure_packages
from harness.progress import Progress
from harness.runner import CommandError, Shell
from harness.wait import wait_until

pytestmark = pytest.mark.cluster

#: Two agents, one after the other, end and start on a CPU that a worker uses too.
ROLLED_OUT_S = 45.0
#: Nothing should come of it, but twice some requests were late ten seconds after the clock was at 400 days
#: ahead (docs/failures.md), for a reason that is not known.
CLOCK_BACK_S = 15.0
TIDY_S = 30.0
TOLD_S = 15.0
#: Debian's library that gives a program another wall clock and leaves its monotonic one alone.
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime"
STATE_DIR = "/var/lib/kneescale"
#: Room for the checkpoint and the claims' folders, and not for much more.
SMALL_DISK = "size=256k"


@pytest.fixture(scope="module")
def shop(kubectl: Kubectl, small_disk: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop in which one worker serves MobileNet on the node with the small disk."""
    with mobilenet_shop(kubectl, tmp_path_factory.mktemp("shop")) as shop:
        assert shop.only_pod()["spec"]["nodeName"] == small_disk.name
        yield shop


@pytest.fixture(scope="module")
def small_disk(local_cluster: LocalCluster, kubectl: Kubectl) -> Iterator[Node]:
    """The node that a first model is put on, while its agent's state is on a small disk of its own."""
    node = local_cluster.nodes()[0]
    node.inside("mount", "--no-mtab", "-t", "tmpfs", "-o", SMALL_DISK, "kneescale-state", STATE_DIR)
    new_agent(kubectl, node)
    yield node
    node.inside("umount", "--no-mtab", STATE_DIR)
    new_agent(kubectl, node)


def new_agent(kubectl: Kubectl, node: Node) -> None:
    """Put another agent's pod in the place of a node's."""
    kneescale = Kneescale(kubectl)
    kneescale.roll_out_agents("delete", "pod", kneescale.agent_on(node.name)["metadata"]["name"])


@pytest.fixture(autouse=True)
def tidy(kubectl: Kubectl, local_cluster: LocalCluster, shop: Shop) -> Iterator[None]:
    """After each test the model serves, and nothing is left over."""
    yield
    shop.wait_for(MOBILENET, "Ready", "True", STARTED_S)
    wait_until_tidy(local_cluster, kubectl, TIDY_S)


def grants_again(kubectl: Kubectl, node: Node) -> bool:
    """Whether the node's agent of now, whose trace began with it, grants the model batches."""
    try:
        traces = Kneescale(kubectl).traces(seconds=5)
    except CommandError:
        return False
    return any(span.model == MOBILENET for trace in traces if trace.node == node.name for span in trace.spans)


def applied(shop: Shop) -> tuple[str, str]:
    """Status and message of the condition Applied of the GPUSchedule that the model is in."""
    for schedule in shop.get("gpuschedules")["items"]:
        if any(p["namespace"] == shop.name for p in schedule["spec"]["partitions"]):
            status = schedule.get("status", {})
            if status.get("observedGeneration") == schedule["metadata"]["generation"]:
                condition = next(c for c in status["conditions"] if c["type"] == "Applied")
                return condition["status"], f"{condition['reason']}: {condition['message']}"
    return "Unknown", ""


def test_a_killed_agent_costs_no_request(
    local_cluster: LocalCluster, kubectl: Kubectl, shop: Shop, small_disk: Node
) -> None:
    killed = Container.of(local_cluster, Kneescale(kubectl).agent_on(small_disk.name))
    again = partial(grants_again, kubectl, small_disk)
    seen = come_through(
        shop, MOBILENET, killed.kill, lambda: not killed.exists and again(), "an agent is killed"
    )
    assert seen.failed == 0
    assert seen.is_back_within(BACK_S)


def step_clock(node: Node, to: str) -> None:
    """Let the wall clock of the node's agent go by that much, within a second."""
    node.inside("sh", "-c", f"echo '{to}' >{STATE_DIR}/clock")


@contextmanager
def other_wall_clock(kubectl: Kubectl, node: Node) -> Iterator[None]:
    """Upgrade the agents to ones whose wall clock can be stepped, on one node; downgrade them at the end."""
    ensure_packages({"libfaketime": f"{FAKETIME}/libfaketime.so.1"}, Shell(), Progress())
    step_clock(node, "+0")
    environment = {
        "LD_PRELOAD": f"{FAKETIME}/libfaketime.so.1",
        "FAKETIME_TIMESTAMP_FILE": f"{STATE_DIR}/clock",
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    library = {"name": "faketime", "mountPath": FAKETIME, "readOnly": True}
    container = {
        "name": "agent",
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "volumeMounts": [library],
    }
    volume = {"name": "faketime", "hostPath": {"path": FAKETIME}}
    patch = {"spec": {"template": {"spec": {"containers": [container], "volumes": [volume]}}}}
    try:
        Kneescale(kubectl).roll_out_agents("patch", "daemonset", AGENT, f"--patch={json.dumps(patch)}")
        yield
    finally:
        Kneescale(kubectl).roll_out_agents("rollout", "undo", f"daemonset/{AGENT}")
        node.inside("rm", f"{STATE_DIR}/clock")


def test_an_upgrade_and_a_wall_clock_that_jumps_cost_no_request(
    kubectl: Kubectl, shop: Shop, small_disk: Node
) -> None:
    workers = shop.uids("pods")

    def check_harmless(what: str, fault: Callable[[], object], bound_s: float) -> None:
        seen = come_through(shop, MOBILENET, fault, partial(grants_again, kubectl, small_disk), what)
        assert seen.failed == 0
        assert seen.is_back_within(bound_s)

    def check_step(ahead: str) -> None:
        step = partial(step_clock, small_disk, ahead)
        check_harmless(f"the wall clock is at {ahead}", step, CLOCK_BACK_S)

    with ExitStack() as upgraded:
        clock = other_wall_clock(kubectl, small_disk)
        check_harmless("agents are upgraded", lambda: upgraded.enter_context(clock), ROLLED_OUT_S)
        for ahead in ("+400d", "-1d"):
            check_step(ahead)
        # Now within what the API server's certificate is good for: the agent writes with that clock.
        for ahead in ("+5h", "-30"):
            check_step(ahead)
            shop.wait_for(MOBILENET, "Scaled", "True", TOLD_S)
        check_harmless("agents are downgraded", upgraded.close, ROLLED_OUT_S)
    assert shop.uids("pods") == workers


@contextmanager
def no_operator(kubectl: Kubectl) -> Iterator[None]:
    """Nobody restores what is written by hand while the block runs."""
    scale = [f"--namespace={NAMESPACE}", "scale", f"deployment/{OPERATOR}"]
    kubectl.run(*scale, "--replicas=0")
    gone = f"--selector=app.kubernetes.io/name={OPERATOR}"
    kubectl.run(f"--namespace={NAMESPACE}", "wait", "--for=delete", "pod", gone, "--timeout=60s")
    try:
        yield
    finally:
        kubectl.run(*scale, "--replicas=1")


def test_a_schedule_that_contradicts_itself_is_refused_and_the_last_good_one_counts(
    kubectl: Kubectl, shop: Shop
) -> None:
    (name,) = [name for name, spec in shop.schedules().items() if spec["partitions"]]
    good = shop.schedules()[name]["partitions"][0]

    def patch(partitions: list[Object]) -> None:
        change = json.dumps({"spec": {"partitions": partitions}})
        shop.run("patch", "gpuschedule", name, "--type=merge", f"--patch={change}")

    with no_operator(kubectl):
        with pytest.raises(CommandError, match="gpuPercent must be one of lanes"):
            patch([{**good, "gpuPercent": 35}])
        for bad, says in (
            ([good, good], f"partition {good['name']} is there twice"),
            ([{**good, "lanes": [*good["lanes"], 33]}], "has a lane of 33 GPU%; its claim has"),
        ):
            seen = come_through(
                shop,
                MOBILENET,
                partial(patch, bad),
                partial(is_refused, shop, says),
                f"a schedule says: {says}",
                TOLD_S,
            )
            assert seen.failed == 0
            assert seen.is_back_within(BACK_S)
    wait_until(lambda: applied(shop)[0] == "True", "the operator restores it", STARTED_S)


def is_refused(shop: Shop, says: str) -> bool:
    status, message = applied(shop)
    return status == "False" and says in message


@contextmanager
def full_disk(node: Node) -> Iterator[None]:
    """Leave no byte free where the agent keeps its state, while the block runs."""
    filler = f"{STATE_DIR}/filler"
    node.inside("sh", "-c", f"cat /dev/zero >{filler} 2>/dev/null || true")
    try:
        yield
    finally:
        node.inside("rm", "-f", filler)


def test_on_a_full_disk_models_serve_on_and_a_new_worker_waits(shop: Shop, small_disk: Node) -> None:
    old = shop.uids("pods").keys()
    with full_disk(small_disk):
        seen = come_through(
            shop,
            MOBILENET,
            partial(shop.change, MOBILENET, overrides={"gpuPercent": 40}),
            lambda: "No space left on device" in applied(shop)[1] and waits_for_claim(shop),
            "a disk is full",
        )
        assert seen.failed == 0
        assert seen.is_back_within(BACK_S)
        assert shop.ready_pods() == set(old)
    wait_until(lambda: shop.swapped(old), "with room again the new worker serves", STARTED_S)
    wait_until(lambda: applied(shop)[1].startswith("Applied:"), "the schedule is saved", TOLD_S)


def waits_for_claim(shop: Shop) -> bool:
    """Whether an Event says that a claim cannot be prepared for want of space."""
    events = shop.get("events.events.k8s.io")["items"]
    return any("No space left on device" in event.get("note", "") for event in events)
