"""A run: a cluster of its own, models under load, faults as drawn, and what is left at the end."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from e2e.chaos.account import Adversity, Struck
from e2e.chaos.agents import Agents
from e2e.chaos.cores import watched_cores
from e2e.chaos.faults import ENDS_AGENT, FAULTS, Blow, World
from e2e.chaos.report import Report
from e2e.chaos.strikes import Strike, draw_strikes
from e2e.clients import steady_load
from e2e.cluster.base import ClusterError
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.demo.figures import Outcome
from e2e.demo.system import Kneescale, write_overlay
from e2e.images import build_images
from e2e.leaks import wait_until_tidy
from e2e.shop import Object, Shop, imported_profile, inference_model, opened
from harness import cache
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
#: What is raised where a fault finds no victim or no API server, or fails half-way.
_FAILED = (ClusterError, CommandError, LookupError, OSError)


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
    # One run at a time has the cluster; another one on this machine waits here.
    with cache.lock(cache.home() / "chaos-run", on_wait=progress.note):
        return _run(duration_s, seed, folder, progress)


def _run(duration_s: float, seed: int, folder: Path, progress: Progress) -> Report:
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
    area, agents = _planned_area(shop), Agents(Kneescale(world.kubectl))
    with watched_cores() as short_s, _loaded(shop) as outcomes:
        begin_s = time.monotonic()
        strikes = draw_strikes(tuple(FAULTS), duration_s - CALM_BEFORE_S - CALM_AFTER_S, seed)
        struck = _strike_all(world, agents, strikes, begin_s + CALM_BEFORE_S, progress)
        let_pass(begin_s + duration_s - time.monotonic())
    left_over = _left_over(world) + agents.failures(struck)
    return Report(
        seed=seed,
        begin_s=begin_s,
        duration_s=duration_s,
        planned_area=area,
        outcomes=outcomes,
        slo_ms={load.name: load.slo_ms for load in LOADS},
        adversity=Adversity(struck, short_s),
        left_over=left_over,
        unread=agents.unread,
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
    world: World, agents: Agents, strikes: Sequence[Strike], begin_s: float, progress: Progress
) -> list[Struck]:
    """Let each fault happen when it is due; agents are asked before one ends them."""
    struck: list[Struck] = []
    for strike in strikes:
        let_pass(begin_s + strike.at_s - time.monotonic())
        struck.append(_strike(world, agents, strike))
        progress.note(f"{strike.fault} {struck[-1].victim} {struck[-1].error}".rstrip())
    return struck


def _strike(world: World, agents: Agents, strike: Strike) -> Struck:
    began_s = time.monotonic()
    try:
        blow = FAULTS[strike.fault](world, strike.draw)
    except _FAILED as error:
        missed = f"did not come to pass: {error}"
        return Struck(strike.fault, "", frozenset(), began_s, time.monotonic(), error=missed)
    if strike.fault in ENDS_AGENT:
        agents.ask_before_its_end(blow.victim.name)
    return _dealt(strike.fault, blow)


def _dealt(fault: str, blow: Blow) -> Struck:
    """Let it happen; one that fails half-way may have cost its victim's models answers all the same."""
    began_s, error = time.monotonic(), ""
    try:
        blow.strike()
    except _FAILED as failed:
        error = f"came to pass only half-way: {failed}"
    victim = blow.victim
    return Struck(fault, victim.name, victim.models, began_s, time.monotonic(), victim.node, error)


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
    return [
        *_error_of(lambda: _wait_until_all_serve(world.shop)),
        *_error_of(lambda: wait_until_tidy(world.cluster, world.kubectl, TIDY_S)),
    ]


def _error_of(check: Callable[[], None]) -> list[str]:
    try:
        check()
    except (ClusterError, CommandError, TimeoutError) as error:
        return [str(error)]
    return []
