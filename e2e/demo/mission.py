"""The demo's main scenario: models serve a steady load, and the schedule is drawn as it ran."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from e2e.demo.figures import Outcome, summarise
from e2e.demo.inference_models import DemoModel, demo_models
from e2e.demo.load import apply_load
from e2e.demo.report import BACKENDS, GrantCount, ModelReport, Report, Run
from e2e.demo.samples import Sample, samples_for
from e2e.demo.speech import recording
from e2e.demo.stage import Stage
from e2e.demo.timeline import draw
from e2e.demo.trace import DeviceTrace, overcommitted
from e2e.demo.watch import watch_while
from e2e.images import Images
from kneescale.core.units import NS_PER_S
from kneescale.sim.arrivals import poisson

SEED = 20230413
#: Where the schedule as it ran is drawn, by scheduling policy.
PICTURES = {"SpatioTemporal": "timeline.png", "Temporal": "timeline-temporal.png"}


@dataclass(frozen=True, slots=True)
class Mission:
    """The scenario, with a load of so many seconds."""

    stage: Stage
    duration_s: float

    def run(self) -> Report:
        """Go through the steps, each quick where nothing is left to do, and return the report.

        Raises ClusterError, CommandError, MissingPackagesError, TimeoutError or RuntimeError where a step
        fails; the stage's `explain` then says more.
        """
        stage, models = self.stage, demo_models(self.stage.backend)
        images = stage.set_up(models)
        run = self._measure(models, "SpatioTemporal")
        temporal = self._temporal(images, models) if stage.backend == "emulated" else None
        return Report(
            kubernetes=stage.kubectl.server_version(),
            cluster=stage.kind,
            backend=stage.backend,
            nodes=len(stage.kubectl.node_names()),
            duration_s=self.duration_s,
            run=run,
            temporal=temporal,
        )

    def _times_s(self, models: Sequence[DemoModel]) -> Mapping[str, NDArray[np.float64]]:
        times_s = {}
        for number, model in enumerate(models):
            rng = np.random.default_rng([SEED, number])
            times_s[model.name] = poisson(model.rate_rps, self.duration_s, rng) / NS_PER_S
        return times_s

    def _measure(self, models: Sequence[DemoModel], policy: str) -> Run:
        stage = self.stage
        with ExitStack() as stack:
            streams = [stage.reach(model, self._samples(model), stack) for model in models]
            stage.try_all(streams)
            with stage.progress.step(f"load, under schedule {policy}", about_s=self.duration_s):
                load = apply_load(streams, self._times_s(models))
                outcomes = asyncio.run(watch_while(load, stage.view, stage.stream))
        for model, of_one in outcomes.items():
            if errors := [outcome.error for outcome in of_one if outcome.error]:
                stage.progress.note(f"{model}: {len(errors)} requests failed, the first with: {errors[0]}")
        traces = stage.kneescale.traces(self.duration_s)
        title = (
            f"Granted GPU% per device, schedule {policy}, backend {stage.backend} ({BACKENDS[stage.backend]})"
        )
        with stage.progress.step("draw the timeline", about_s=3):
            draw(traces, title, self.duration_s, stage.folder / PICTURES[policy])
        return self._report_run(models, outcomes, traces)

    def _samples(self, model: DemoModel) -> Sequence[Sample]:
        return samples_for(model.name, lambda: recording(self.stage.runner))

    def _report_run(
        self,
        models: Sequence[DemoModel],
        outcomes: Mapping[str, Sequence[Outcome]],
        traces: Sequence[DeviceTrace],
    ) -> Run:
        reports = [
            ModelReport(
                name=model.name,
                slo_ms=model.slo_ms,
                rate_rps=model.rate_rps,
                **asdict(summarise(outcomes[model.name], model.slo_ms)),
                **asdict(self.stage.models.placement(model.name)),
            )
            for model in models
        ]
        grants = GrantCount(
            total=sum(len(trace.spans) for trace in traces),
            overcommitted=sum(overcommitted(trace) for trace in traces),
        )
        return Run(tuple(reports), grants)

    def _temporal(self, images: Images, models: Sequence[DemoModel]) -> Run:
        """Measure the same load under plain temporal sharing, then set the schedule back."""
        try:
            self.stage.install(images, "Temporal")
            self.stage.settle("Temporal")
            return self._measure(models, "Temporal")
        finally:
            self.stage.install(images, "SpatioTemporal")
