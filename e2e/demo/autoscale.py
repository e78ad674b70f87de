"""The demo's autoscaling scenario: traffic steps up, capacity follows; traffic falls, capacity returns."""

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2e.demo.figures import Outcome
from e2e.demo.inference_models import DemoModel, demo_models
from e2e.demo.load import apply_load, poisson_times_s
from e2e.demo.samples import EMULATED_ITEMS
from e2e.demo.scaling_picture import draw_scaling
from e2e.demo.scaling_report import ModelScaling, ScalingReport, Sighting
from e2e.demo.stage import Stage
from e2e.demo.watch import watch_while
from e2e.runner import CommandError

FOLDER = "autoscale"
PICTURE = "autoscale.png"
SEED = 20230413
#: Requests per second, each of EMULATED_ITEMS items, before and after the step and while it lasts.
CALM_RPS: Mapping[str, float] = {"inception-v3": 1.5, "vgg19": 3.5}
STEP_FACTOR = 4.0
#: Before the step; of the step; after it: what is provided for falls 45 s after the need.
CALM_S, STEP_S, AFTER_S = 25.0, 60.0, 85.0
SIGHT_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Autoscaling:
    """The scenario on the emulated backend, whose latencies are those of GPUs that this machine lacks."""

    stage: Stage

    def run(self) -> ScalingReport:
        """Go through the steps and return the report; raises what `Mission.run` raises."""
        stage, models = self.stage, demo_models(FOLDER)
        stage.set_up(models)
        with ExitStack() as stack:
            streams = [stage.reach(model, stack) for model in models]
            times_s = {
                model.name: _times_s(CALM_RPS[model.name], number) for number, model in enumerate(models)
            }
            with stage.progress.step(
                f"load: x{STEP_FACTOR:g} after {CALM_S:.0f} s, back after {STEP_S:.0f} s more",
                about_s=CALM_S + STEP_S + AFTER_S,
            ):
                began_s = time.monotonic()
                sightings: list[Sighting] = []
                load = self._sight_while(apply_load(streams, times_s), began_s, sightings)
                outcomes = asyncio.run(watch_while(load, self._view, stage.stream))
        report = self._report(models, outcomes, sightings)
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
    ) -> ScalingReport:
        return ScalingReport(
            cluster=self.stage.kind,
            kubernetes=self.stage.kubectl.server_version(),
            items_per_request=EMULATED_ITEMS,
            step_at_s=CALM_S,
            back_at_s=CALM_S + STEP_S,
            models=tuple(
                ModelScaling.of(
                    model.name,
                    model.slo_ms,
                    outcomes[model.name],
                    [sighting for sighting in sightings if sighting.model == model.name],
                    (CALM_S, CALM_S + STEP_S),
                )
                for model in models
            ),
        )


def _times_s(calm_rps: float, number: int) -> NDArray[np.float64]:
    """Poisson arrivals: calm, then at the step's rate, then calm again."""
    rng = np.random.default_rng([SEED, number])
    phases = [(CALM_S, calm_rps), (STEP_S, STEP_FACTOR * calm_rps), (AFTER_S, calm_rps)]
    times, start_s = [], 0.0
    for duration_s, rate_rps in phases:
        times.append(start_s + poisson_times_s(rate_rps, duration_s, rng))
        start_s += duration_s
    return np.concatenate(times)
