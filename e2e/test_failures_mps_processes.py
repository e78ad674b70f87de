"""Workers in the tier of GPUs that models share: one that is killed, and one of whose lanes dies."""

from collections.abc import Iterator
from functools import partial

import psutil
import pytest

from e2e.clients import tells_of_an_end
from e2e.cluster.faults import Container, kill_in_its_batch
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.leaks import wait_until_tidy
from e2e.shop import MOBILENET, STARTED_S, Shop
from e2e.tiers import forced
from e2e.trial import RATE_RPS, come_through, mobilenet_shop
from kneescale.core.tiers import Tier

pytestmark = pytest.mark.cluster

TIDY_S = 30.0
#: It starts twice: the worker, and then the process of its lane.
RESTARTED_S = 20.0
#: The process alone. By then no batch fails any more.
REVIVED_S = 5.0


@pytest.fixture(scope="module")
def shop(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop in which one worker serves MobileNet by lanes that are processes."""
    with (
        forced(kubectl, Tier.MPS_PROCESSES),
        mobilenet_shop(kubectl, tmp_path_factory.mktemp("shop")) as shop,
    ):
        yield shop


@pytest.fixture(autouse=True)
def tidy(local_cluster: LocalCluster, kubectl: Kubectl, shop: Shop) -> Iterator[None]:
    """After each test the model serves, and nothing is left of what was."""
    yield
    shop.wait_for(MOBILENET, "Ready", "True", STARTED_S)
    wait_until_tidy(local_cluster, kubectl, TIDY_S)


def lanes(shop: Shop) -> list[int]:
    """The GPU% of each lane of the one worker."""
    (partition,) = [each for spec in shop.schedules().values() for each in spec["partitions"]]
    assert partition["pool"]
    return list(partition["lanes"])


def main_and_lanes(worker: Container) -> tuple[int, list[int]]:
    """The worker's own process and those that it started, the lane of the least GPU% first.

    Not by their PIDs, which start again at the lowest ones after the highest.
    """
    pids = worker.pids
    children = [pid for pid in pids if psutil.Process(pid).ppid() in pids]
    (main,) = set(pids) - set(children)
    return main, sorted(children, key=gpu_percent)


def gpu_percent(lane: int) -> int:
    return int(psutil.Process(lane).environ()["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"])


def test_a_killed_worker_comes_back_with_all_its_lanes(local_cluster: LocalCluster, shop: Shop) -> None:
    worker, before = Container.of(local_cluster, shop.only_pod()), shop.restarts()
    processes = len(worker.pids)
    assert processes == 1 + len(lanes(shop))

    def serves_again() -> bool:
        return bool(shop.ready_pods()) and shop.restarts() == {name: n + 1 for name, n in before.items()}

    seen = come_through(shop, MOBILENET, worker.kill, serves_again, "mps-processes: a worker is killed")
    assert [error for error in seen.errors if not tells_of_an_end(error)] == []
    assert seen.is_back_within(RESTARTED_S)
    assert len(Container.of(local_cluster, shop.only_pod()).pids) == processes


def test_a_lane_that_dies_is_started_again_and_its_worker_stays(
    local_cluster: LocalCluster, shop: Shop
) -> None:
    worker, restarts = Container.of(local_cluster, shop.only_pod()), shop.restarts()
    main, children = main_and_lanes(worker)
    lane = children[0]  # the one that this load needs

    def is_revived() -> bool:
        now = worker.pids
        return len(now) == 1 + len(children) and lane not in now

    kill = partial(kill_in_its_batch, lane)
    seen = come_through(shop, MOBILENET, kill, is_revived, "mps-processes: a lane is killed in its batch")
    assert [error for error in seen.errors if "the batch of this request failed" not in error] == []
    assert 1 <= seen.failed <= REVIVED_S * RATE_RPS
    assert main in worker.pids
    assert shop.restarts() == restarts
