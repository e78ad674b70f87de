"""A run: a cluster of its own, models under load, faults as drawn, and what is left at the end."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from e2e.chaos.account import Adversity, Struck
from e2e.chaos.cores import watched_cores
from e2e.chaos.faults import ENDS_AGENT, FAULTS, Victim, World
from e2e.chaos.report import Report
from e2e.chaos.strikes import Strike, draw_strikes
from e2e.clients import steady_load
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.demo.figures import Outcome
from e2e.demo.system import Kneescale, write_overlay
from e2e.demo.trace import overcommitted
from e2e.images import build_images
from e2e.leaks import leaks, wait_until_tidy
from e2e.shop import Object, Shop, imported_profile, inference_model, opened
from harness.progress import Progress
from harness.runner import CommandError, Shell
from harness.wait import let_pass
from kneescale.core.units import PERMILLE

#: Few large requests keep the GPUs busy, so that the machine's own cores have time for the cluster.
ITEMS = 32
CALM_BEFORE_S = 10.0
#: Without a fault, so that what was struck last can come back.
CALM_AFTER_S = 30.0
TIDY_S = 120.0
#: For six workers at once, on a busy machine.
STARTED_S = 300.0


@dataclass(frozen=True, slots=True)
class Load:
    """A model of the catalog, its SLO, and the requests that it gets."""

    catalog_name: str
    slo_ms: int
    rate_rps: float

    @property
    def name(self) -> str:
        """The name of its InferenceModel."""
        return self.catalog_name.replace("_", "-")

    def manifest(self) -> Object:
        """Its InferenceModel: two workers, so that one is there while the other is not."""
        return inference_model(
            self.catalog_name,
            slo={"latencyMilliseconds": self.slo_ms, "lateRequests": "Refuse"},
            expectedRequestsPerSecond=round(self.rate_rps * ITEMS),
            scaling={"minReplicas": 2, "maxReplicas": 2},
        )


#: Together they take 60 % of the area of the cluster's four emulated V100s.
LOADS = (Load("vgg19", 700, 14), Load("resnet50", 500, 26), Load("mobilenet_v2", 400, 20))


def run(duration_s: float, seed: int, folder: Path, progress: Progress) -> Report:
    """Make a cluster, run, and take it down.

    Raises ClusterError, CommandError or TimeoutError where the cluster or the models do not come up.
    """
    images = build_images(progress)
    cluster = LocalCluster("chaos", Shell(), progress)
    cluster.up()
    try:
        cluster.load_images(images.archives)
        refs = images.manifest_refs(cluster.image_ref)
        write_overlay(folder / "overlay", "emulated", refs, "SpatioTemporal")
        kubectl = Kubectl(cluster.kubectl, cluster.kubeconfig, Shell())
        with progress.step("Kneescale from its manifests", about_s=15):
            Kneescale(kubectl).install(folder / "overlay")
        with opened(kubectl, folder) as shop:
            return _run_in(World(cluster, kubectl, shop), duration_s, seed, progress)
    finally:
        cluster.down()


def _run_in(world: World, duration_s: float, seed: int, progress: Progress) -> Report:
    shop = world.shop
    with progress.step("models: place, start", about_s=60):
        shop.apply(*(imported_profile(load.catalog_name) for load in LOADS))
        shop.apply(*(load.manifest() for load in LOADS))
        _wait_until_all_serve(shop)
    area = _planned_area(shop)
    with watched_cores() as short_s, _loaded(shop) as outcomes:
        begin_s = time.monotonic()
        strikes = draw_strikes(tuple(FAULTS), duration_s - CALM_BEFORE_S - CALM_AFTER_S, seed)
        struck, over = _strike_all(world, strikes, begin_s + CALM_BEFORE_S, progress)
        let_pass(begin_s + duration_s - time.monotonic())
    left_over = list(dict.fromkeys(over + _left_over(world)))
    return Report(
        seed=seed,
        begin_s=begin_s,
        duration_s=duration_s,
        planned_area=area,
        outcomes=outcomes,
        slo_ms={load.name: load.slo_ms for load in LOADS},
        adversity=Adversity(struck, short_s),
        left_over=left_over,
    )


@contextmanager
def _loaded(shop: Shop) -> Iterator[Mapping[str, Sequence[Outcome]]]:
    """All models under load; the outcomes grow meanwhile."""
    with ExitStack() as stack:
        yield {
            load.name: stack.enter_context(steady_load(shop, load.name, load.rate_rps, ITEMS))
            for load in LOADS
        }


def _strike_all(
    world: World, strikes: Sequence[Strike], begin_s: float, progress: Progress
) -> tuple[list[Struck], list[str]]:
    """Let each fault happen when it is due; what happened, and what agents had granted that they ended."""
    struck: list[Struck] = []
    over: list[str] = []
    for strike in strikes:
        let_pass(begin_s + strike.at_s - time.monotonic())
        if strike.fault in ENDS_AGENT:
            over += _granted_over_100(world, progress)
        struck.append(_strike(world, strike, progress))
    return struck, over


def _granted_over_100(world: World, progress: Progress) -> list[str]:
    """What the agents say who are about to be ended, by their own count: all grants would be a load."""
    try:
        return _overcommitments(world, seconds=1)
    except CommandError as error:
        progress.note(f"not read of agents what they granted: {error}")
        return []


def _strike(world: World, strike: Strike, progress: Progress) -> Struck:
    """Let a fault happen; one without a victim, or without an API server, is noted so."""
    began_s = time.monotonic()
    try:
        victim = FAULTS[strike.fault](world, strike.draw)
    except (CommandError, LookupError, OSError) as error:
        victim = Victim(f"(did not come to pass: {error})")
    progress.note(f"{strike.fault} {victim.name}")
    return Struck(strike.fault, victim.name, victim.models, began_s, time.monotonic(), victim.node)


def _wait_until_all_serve(shop: Shop) -> None:
    for load in LOADS:
        try:
            shop.wait_for(load.name, "Ready", "True", STARTED_S)
        except TimeoutError as error:
            raise TimeoutError(f"{load.name}: {error}; {shop.condition(load.name, 'Ready')}") from error


def _planned_area(shop: Shop) -> float:
    """The part of all GPUs' area that the plan needs."""
    specs = shop.schedules().values()
    areas: list[int] = [sum(p["areaPermille"] for p in spec["partitions"]) for spec in specs]
    return sum(areas) / len(areas) / PERMILLE


def _left_over(world: World) -> list[str]:
    """What is not as it was before the faults, though there was time."""
    found: list[str] = []
    try:
        _wait_until_all_serve(world.shop)
    except TimeoutError as error:
        found.append(str(error))
    try:
        wait_until_tidy(world.cluster, world.kubectl, TIDY_S)
    except TimeoutError:
        found += leaks(world.cluster, world.kubectl)
    return found + _overcommitments(world, seconds=3600)


def _overcommitments(world: World, seconds: float) -> list[str]:
    """A sentence for each device that was granted over 100 GPU%: of late, or as its agent has counted."""
    return [
        f"{trace.node} {trace.device} was granted over 100 GPU% at {instants} instants"
        for trace in Kneescale(world.kubectl).traces(seconds)
        if (instants := overcommitted(trace))
    ]
