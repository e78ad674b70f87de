"""The demo's autoscaling scenario: traffic rises, capacity follows; traffic falls, capacity returns."""

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from e2e.demo.figures import Outcome
from e2e.demo.inference_models import DemoModel, demo_models
from e2e.demo.load import apply_load
from e2e.demo.samples import echoes
from e2e.demo.scaling_picture import draw_scaling
from e2e.demo.scaling_report import LONG_S, ModelScaling, ScalingReport, Sighting
from e2e.demo.stage import Stage
from e2e.demo.traffic import BURSTY, Traffic, oracle_gpus
from e2e.demo.watch import watch_while
from harness.runner import CommandError
from harness.wait import wait_until
from kneescale.core.scaling.autoscaler import LEAST_IPS

FOLDER = "autoscale"
PICTURE = "autoscale.png"
#: Bursty traffic has peaks of its own: its mean is this part of those.
BURSTY_PART = 0.5
SIGHT_EVERY_S = 2.0
#: By then what an earlier run's traffic was given is given back.
CALM_S = 180.0


@dataclass(frozen=True, slots=True)
class Load:
    """Items of a request, and requests per second at the peak."""

    items: int
    peak_rps: Mapping[str, float]


#: Few requests of many items come in bursts: a GPU that is half used by them is soon not enough.
IN_BURSTS = Load(16, {"inception-v3": 6.0, "vgg19": 14.0})
#: What is kept to spare for chance is to be small beside what an oracle reserves.
EVEN = Load(4, {"inception-v3": 48.0, "vgg19": 100.0})


@dataclass(frozen=True, slots=True)
class Autoscaling:
    """The scenario on the emulated backend, whose latencies are those of GPUs that this machine lacks."""

    stage: Stage
    name: str
    traffic: Traffic

    def run(self) -> ScalingReport:
        """Go through the steps and return the report; raises what `Mission.run` raises."""
        stage, models = self.stage, demo_models(FOLDER)
        stage.set_up(models)
        with stage.progress.step("no traffic yet, and nothing provided for any", about_s=1):
            wait_until(self._is_calm, "nothing is provided for", CALM_S)
        with ExitStack() as stack:
            streams = [stage.reach(model, echoes(model.name, self._load.items), stack) for model in models]
            times_s = {
                model.name: self.traffic.times_s(number, model.name, self._peak_rps(model))
                for number, model in enumerate(models)
            }
            with stage.progress.step(f"load: {self.name}", about_s=self.traffic.duration_s):
                began_s = time.monotonic()
                sightings: list[Sighting] = []
                load = self._sight_while(apply_load(streams, times_s), began_s, sightings)
                outcomes = asyncio.run(watch_while(load, self._view, stage.stream))
        slos_ms = {model.name: float(model.slo_ms) for model in models}
        oracle = oracle_gpus(slos_ms, times_s, self.traffic.duration_s, self._load.items)
        report = self._report(models, outcomes, sightings, oracle)
        with stage.progress.step("draw what followed what", about_s=3):
            draw_scaling(report, stage.folder / PICTURE)
        return report

    async def _sight_while(
        self,
        load: Coroutine[Any, Any, Mapping[str, Sequence[Outcome]]],
        began_s: float,
        sightings: list[Sighting],
    ) -> Mapping[str, Sequence[Outcome]]:
        """Look at the models every two seconds while the load lasts."""
        task = asyncio.create_task(load)
        while not task.done():
            sightings += await asyncio.to_thread(self._sight, began_s)
            await asyncio.wait([task], timeout=SIGHT_EVERY_S)
        return await task

    def _is_calm(self) -> bool:
        statuses = self.stage.models.statuses().items()
        return all(Sighting.of(name, 0.0, status).provided_ips < LEAST_IPS for name, status in statuses)

    def _sight(self, began_s: float) -> list[Sighting]:
        try:
            statuses = self.stage.models.statuses()
        except CommandError:
            return []  # one look more or less
        at_s = time.monotonic() - began_s
        return [Sighting.of(name, at_s, status) for name, status in statuses.items() if status]

    def _view(self) -> str:
        lines = [self.stage.view()]
        for name, status in self.stage.models.statuses().items():
            decisions = status.get("scaling", {}).get("decisions", [])
            lines += [f"{name}: {decisions[0]['reason']}: {decisions[0]['message']}"] if decisions else []
        return "\n".join(lines)

    def _report(
        self,
        models: Sequence[DemoModel],
        outcomes: Mapping[str, Sequence[Outcome]],
        sightings: Sequence[Sighting],
        oracle: float,
    ) -> ScalingReport:
        return ScalingReport(
            traffic=self.name,
            duration_s=self.traffic.duration_s,
            cluster=self.stage.kind,
            kubernetes=self.stage.kubectl.server_version(),
            items_per_request=self._load.items,
            changes_s=self.traffic.changes_s,
            oracle_gpus=oracle,
            models=tuple(
                ModelScaling.of(
                    model.name,
                    model.slo_ms,
                    outcomes[model.name],
                    [sighting for sighting in sightings if sighting.model == model.name],
                    self.traffic.changes_s,
                )
                for model in models
            ),
        )

    @property
    def _load(self) -> Load:
        return EVEN if self.traffic.duration_s >= LONG_S else IN_BURSTS

    def _peak_rps(self, model: DemoModel) -> float:
        return self._load.peak_rps[model.name] * (BURSTY_PART if self.name == BURSTY else 1.0)
