"""The steps of the demo, in order; each may be interrupted, and is quick where nothing is left to do."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

from e2e.cluster.base import Cluster
from e2e.cluster.kubectl import Kubectl
from e2e.demo.figures import Outcome, summarise
from e2e.demo.inference_models import NAMESPACE, DemoModel, ModelsOnCluster, demo_models
from e2e.demo.load import Stream, apply_load, try_each_sample
from e2e.demo.report import BACKENDS, GrantCount, ModelReport, Report, Run
from e2e.demo.samples import samples_for
from e2e.demo.services import reach
from e2e.demo.speech import recording
from e2e.demo.system import Kneescale, write_overlay
from e2e.demo.timeline import draw
from e2e.demo.trace import DeviceTrace, overcommitted
from e2e.demo.watch import watch_while
from e2e.images import Images, build_images
from e2e.progress import Progress
from e2e.runner import CommandError, Runner

SETTLE_TIMEOUT_S = 480.0
SETTLE_POLL_S = 1.0
SEED = 20230413
#: Where the schedule as it ran is drawn, by scheduling policy.
PICTURES = {"SpatioTemporal": "timeline.png", "Temporal": "timeline-temporal.png"}


@dataclass(frozen=True, slots=True)
class Mission:
    """The demo on one cluster with one backend; what it makes goes to `folder`, what it shows to `stream`."""

    cluster: Cluster
    kind: str
    backend: str
    duration_s: float
    folder: Path
    runner: Runner
    progress: Progress
    stream: TextIO

    def run(self) -> Report:
        """Go through the steps and return the report.

        Raises ClusterError, CommandError, MissingPackagesError, TimeoutError or RuntimeError where a step
        fails; `explain` then says more.
        """
        models = demo_models(self.backend)
        self.cluster.up()
        images = self._provide_images(models)
        self._models.keep_only([model.name for model in models])
        self._install(images, "SpatioTemporal")
        with self.progress.step("InferenceModels: profile, place, start", about_s=150):
            artefacts = {name: self.cluster.image_ref(image.ref) for name, image in images.models.items()}
            self._models.apply(models, artefacts, self.folder / "models.yaml")
            self._settle("SpatioTemporal")
        run = self._measure(models, "SpatioTemporal")
        temporal = self._temporal(images, models) if self.backend == "emulated" else None
        return Report(
            kubernetes=self._kubectl.server_version(),
            cluster=self.kind,
            backend=self.backend,
            nodes=len(self._kubectl.node_names()),
            duration_s=self.duration_s,
            run=run,
            temporal=temporal,
        )

    def explain(self) -> str:
        """Return what the cluster says about itself, for a step that failed."""
        parts = []
        for explain in (self._models.explain, self._kneescale.explain):
            try:
                parts.append(explain())
            except CommandError as error:
                parts.append(str(error))
        return "\n".join(parts)

    @property
    def _kubectl(self) -> Kubectl:
        return Kubectl(self.cluster.kubectl, self.cluster.kubeconfig, self.runner)

    @property
    def _models(self) -> ModelsOnCluster:
        return ModelsOnCluster(self._kubectl)

    @property
    def _kneescale(self) -> Kneescale:
        return Kneescale(self._kubectl)

    def _provide_images(self, models: Sequence[DemoModel]) -> Images:
        images = build_images(self.progress, [m.artefact for m in models if m.artefact], self.runner)
        with self.progress.step("images onto the nodes", about_s=20):
            self.cluster.load_images(images.archives)
        return images

    def _install(self, images: Images, policy: str) -> None:
        with self.progress.step(f"Kneescale from its manifests, schedule {policy}", about_s=15):
            overlay = self.folder / "overlay"
            refs = images.manifest_refs(self.cluster.image_ref)
            write_overlay(overlay, self.backend, refs, policy)
            self._kneescale.install(overlay)

    def _settle(self, policy: str) -> None:
        asyncio.run(watch_while(self._until_settled(policy), partial(self._view, "-o=wide"), self.stream))

    async def _until_settled(self, policy: str) -> None:
        deadline_s = time.monotonic() + SETTLE_TIMEOUT_S
        while under_way := await asyncio.to_thread(self._models.unsettled, policy):
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"after {SETTLE_TIMEOUT_S:.0f} s: {under_way}")
            await asyncio.sleep(SETTLE_POLL_S)

    def _view(self, *options: str) -> str:
        try:
            return self._models.overview(*options)
        except CommandError as error:
            return str(error)  # a view that fails once must not end what it shows

    def _measure(self, models: Sequence[DemoModel], policy: str) -> Run:
        with ExitStack() as stack:
            streams = [self._stream(model, stack) for model in models]
            with self.progress.step("try every sample over REST and gRPC", about_s=5):
                asyncio.run(_try_all(streams))
            with self.progress.step(f"load, under schedule {policy}", about_s=self.duration_s):
                load = apply_load(streams, self.duration_s, SEED)
                outcomes = asyncio.run(watch_while(load, self._view, self.stream))
        for model, of_one in outcomes.items():
            if errors := [outcome.error for outcome in of_one if outcome.error]:
                self.progress.note(f"{model}: {len(errors)} requests failed, the first with: {errors[0]}")
        traces = self._kneescale.traces(self.duration_s)
        title = (
            f"Granted GPU% per device, schedule {policy}, backend {self.backend} ({BACKENDS[self.backend]})"
        )
        with self.progress.step("draw the timeline", about_s=3):
            draw(traces, title, self.duration_s, self.folder / PICTURES[policy])
        return self._report_run(models, outcomes, traces)

    def _stream(self, model: DemoModel, stack: ExitStack) -> Stream:
        endpoint = stack.enter_context(reach(self._kubectl, NAMESPACE, model.name))
        samples = samples_for(model.name, lambda: recording(self.runner))
        return Stream(model.name, endpoint, samples, model.rate_rps)

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
                **asdict(self._models.placement(model.name)),
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
            self._install(images, "Temporal")
            self._settle("Temporal")
            return self._measure(models, "Temporal")
        finally:
            self._install(images, "SpatioTemporal")


async def _try_all(streams: Sequence[Stream]) -> None:
    await asyncio.gather(*(try_each_sample(stream) for stream in streams))
