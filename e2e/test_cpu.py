"""The nodes' CPUs as devices: a real model serves beside one whose image nobody has."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from e2e.cluster.base import Cluster
from e2e.cluster.kubectl import Kubectl
from e2e.demo.load import Stream, try_each_sample
from e2e.demo.samples import samples_for
from e2e.demo.services import reach
from e2e.demo.speech import recording
from e2e.demo.system import Kneescale
from e2e.images import Images
from e2e.shop import STARTED_S, Shop, opened, real_model
from harness.checkout import ROOT
from harness.runner import Shell
from harness.wait import wait_until

pytestmark = pytest.mark.cluster

LOCAL_OVERLAY = ROOT / "manifests" / "overlays" / "local"
REAL, NOBODYS = "silero-vad", "nobodys"
RATE_RPS = 2
SAID_S = 30.0
MEASURED_S = 120.0


@pytest.fixture(scope="module")
def shop(
    kubectl: Kubectl, install: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """A shop on nodes whose CPUs are the devices; the emulated GPUs are back at the end.

    The overlay is applied as it stands, without the content tags that the other tests and the demo put in.
    """
    with opened(kubectl, tmp_path_factory.mktemp("shop")) as shop:
        emulated = shop.schedules().keys()
        Kneescale(kubectl).install(LOCAL_OVERLAY)
        try:
            yield shop
        finally:
            install("emulated")
            wait_until(lambda: shop.schedules().keys() == emulated, "the emulated GPUs are back", STARTED_S)


def test_an_image_that_nobody_has_is_said_and_harms_no_real_model(
    shop: Shop, cluster: Cluster, images: Images
) -> None:
    bounds = {"slo": {"latencyMilliseconds": 1000}, "expectedRequestsPerSecond": RATE_RPS, "maxBatch": 2}
    image = "localhost/kneescale/nobody-has-this:1"
    shop.apply(real_model(NOBODYS, image, **bounds))
    wait_until(
        lambda: image in shop.condition(NOBODYS, "Profiled").get("message", ""), "the image is named", SAID_S
    )
    assert shop.condition(NOBODYS, "Profiled")["reason"] == "ImagePullBackOff"

    real_image = cluster.image_ref(images.models[REAL].ref)
    shop.apply(real_model(REAL, real_image, **bounds))
    shop.wait_for(REAL, "Ready", "True", MEASURED_S)
    samples = samples_for(REAL, lambda: recording(Shell()))
    with reach(shop.kubectl, shop.name, REAL) as endpoint:
        asyncio.run(try_each_sample(Stream(REAL, endpoint, samples)))
    profiles = [profile["spec"] for profile in shop.get("modelprofiles")["items"]]
    assert {(spec["modelURI"], spec["backend"], spec["source"]) for spec in profiles} == {
        (f"oci://{real_image}", "cpu", "Measured"),
        (f"oci://{image}", "cpu", "Pending"),
    }
