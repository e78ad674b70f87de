"""Others scale a model by its scale subresource: KEDA with the real HorizontalPodAutoscaler controller."""

from collections.abc import Iterator

import pytest

from e2e.clients import failures, steady_load
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.keda import Keda
from e2e.prometheus import Prometheus
from e2e.shop import MOBILENET, STARTED_S, Object, Shop, imported_profile, inference_model, opened
from harness.progress import Progress
from harness.runner import Shell
from harness.wait import wait_until

pytestmark = pytest.mark.cluster

RATE_RPS = 30
#: Of the rate that one worker is to get: two are wanted for what is sent, and one for nothing.
PER_WORKER_RPS = 20
#: The HorizontalPodAutoscaler controller looks every 15 s, at what was recorded over the last minute.
SCALED_S = 180.0


@pytest.fixture(scope="session")
def keda() -> Keda:
    """KEDA, built before a cluster waits for it: once, in a quarter of an hour."""
    return Keda.build(Shell(), Progress())


@pytest.fixture(scope="module")
def shop(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop whose one model may have up to two workers; how many, it leaves to others."""
    with opened(kubectl, tmp_path_factory.mktemp("shop")) as shop:
        scaling = {"minReplicas": 1, "maxReplicas": 2, "replicas": 1}
        shop.apply(imported_profile("mobilenet_v2"), inference_model("mobilenet_v2", scaling=scaling))
        shop.wait_for(MOBILENET, "Ready", "True", STARTED_S)
        yield shop


@pytest.fixture(scope="module")
def scaled_object(
    keda: Keda,
    local_cluster: LocalCluster,
    shop: Shop,
    prometheus: Prometheus,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """KEDA follows a recorded rate of the model."""
    with keda.running(local_cluster, shop.kubectl, tmp_path_factory.mktemp("keda")):
        shop.apply(_scaled_object(shop.name, prometheus.url))
        yield
        # While KEDA is there: it has a finalizer on it.
        shop.run("delete", "scaledobject", MOBILENET)


def _scaled_object(namespace: str, prometheus_url: str) -> Object:
    query = f'sum(model:kneescale_requests:rate1m{{namespace="{namespace}",model="{MOBILENET}"}})'
    trigger = {"serverAddress": prometheus_url, "query": query, "threshold": str(PER_WORKER_RPS)}
    at_once = {"scaleDown": {"stabilizationWindowSeconds": 0}}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": MOBILENET},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "kneescale.dev/v1alpha1",
                "kind": "InferenceModel",
                "name": MOBILENET,
            },
            "minReplicaCount": 1,
            "maxReplicaCount": 2,
            "pollingInterval": 2,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": at_once}},
            "triggers": [{"type": "prometheus", "metadata": trigger}],
        },
    }


def test_a_model_follows_its_rate_up_and_down(scaled_object: None, shop: Shop) -> None:
    with steady_load(shop, MOBILENET, RATE_RPS) as outcomes:
        wait_until(lambda: len(shop.ready_pods()) == 2, "two workers serve", SCALED_S)
    assert failures(outcomes) == []
    assert scale(shop) == {"spec": 2, "status": 2}

    wait_until(lambda: len(shop.uids("pods")) == 1, "one worker is left", SCALED_S)
    assert scale(shop) == {"spec": 1, "status": 1}


def test_the_real_autoscaler_read_the_metric(scaled_object: None, shop: Shop) -> None:
    (autoscaler,) = shop.get("horizontalpodautoscalers")["items"]
    conditions = {each["type"]: each for each in autoscaler["status"]["conditions"]}
    assert conditions["ScalingActive"]["status"] == "True"
    assert conditions["ScalingActive"]["reason"] == "ValidMetricFound"
    assert autoscaler["spec"]["scaleTargetRef"]["kind"] == "InferenceModel"


def scale(shop: Shop) -> dict[str, int]:
    """The replicas of the scale subresource, as any autoscaler sees them."""
    found = shop.scale_of(MOBILENET)
    return {part: found[part]["replicas"] for part in ("spec", "status")}
