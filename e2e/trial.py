"""A fault under load: how its clients come through it."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from e2e.chaos.cores import watched_cores
from e2e.clients import steady_load
from e2e.cluster.kubectl import Kubectl
from e2e.demo.figures import Outcome
from e2e.recovery import FULL_ATTAINMENT, UNDER_WAY_S, Recovery, recovery
from e2e.shop import MOBILENET, STARTED_S, Shop, imported_profile, inference_model, opened
from harness.wait import let_pass, wait_until
from kneescale.core.units import MS_PER_S

#: Far above what an answer takes, on a machine that also runs the cluster: it tells an outage, not a jitter.
SLO_MS = 200
SLO = {"latencyMilliseconds": SLO_MS, "lateRequests": "Serve"}
RATE_RPS = 20
STEADY_S = UNDER_WAY_S
#: By when a fault that ends a single process is to be over for clients.
BACK_S = 10.0
#: So long is looked on after the fault is over.
AFTER_S = 10.0
SETTLED_S = 60.0
#: A model with a worker on each of the cluster's GPUs, and so also on the first model's.
OTHER = "resnet18"
GPUS = 4


@contextmanager
def mobilenet_shop(kubectl: Kubectl, folder: Path) -> Iterator[Shop]:
    """A shop in which one worker serves MobileNet."""
    with opened(kubectl, folder) as shop:
        shop.apply(imported_profile("mobilenet_v2"), inference_model("mobilenet_v2", slo=SLO))
        shop.wait_for(MOBILENET, "Ready", "True", STARTED_S)
        yield shop


@contextmanager
def a_worker_on_each_gpu(shop: Shop) -> Iterator[None]:
    """Another model beside the first one while the block runs."""
    everywhere = {"minReplicas": GPUS, "maxReplicas": GPUS}
    shop.apply(imported_profile(OTHER), inference_model(OTHER, slo=SLO, scaling=everywhere))
    try:
        shop.wait_for(OTHER, "Ready", "True", STARTED_S)
        yield
    finally:
        shop.run("delete", "inferencemodel", OTHER)
        wait_until(lambda: len(shop.uids("pods")) == 1, "the other model is gone", STARTED_S)


def come_through(
    shop: Shop,
    model: str,
    fault: Callable[[], object],
    is_over: Callable[[], bool],
    what: str,
    timeout_s: float = SETTLED_S,
    after_s: float = AFTER_S,
) -> Recovery:
    """Load a model steadily, do harm, and see how its requests fare until `after_s` after it `is_over`.

    Where they are not in time then, for as long again at the most: whether that is a moment or the end of it
    is seen by looking on. Raises TimeoutError naming `what` if it is not over in time.
    """
    with watched_cores() as short_s, steady_load(shop, model, RATE_RPS) as outcomes:
        wait_until(lambda: _is_steady(outcomes), "all requests are in time before the fault", SETTLED_S)
        fault_s = time.monotonic()
        fault()
        wait_until(is_over, what, timeout_s)
        over_s = time.monotonic()
        let_pass(after_s)
        with suppress(TimeoutError):
            wait_until(lambda: _is_steady(outcomes), "all requests are in time after the fault", after_s)
    seen = recovery(outcomes, SLO_MS, fault_s, short_s)
    machine = f"machine load {os.getloadavg()[0]:.1f}, {len(short_s)} s without a free core"
    sys.stdout.write(f"{what}: over {over_s - fault_s:.1f} s after it began; {seen} ({machine})\n")
    return seen


def _is_steady(outcomes: list[Outcome]) -> bool:
    """Whether all of the last seconds' requests are in time; one without an outcome is not."""
    until_s = time.monotonic() - SLO_MS / MS_PER_S
    last = [outcome for outcome in outcomes if until_s - STEADY_S <= outcome.due_s < until_s]
    return sum(outcome.is_within(SLO_MS) for outcome in last) >= FULL_ATTAINMENT * STEADY_S * RATE_RPS
