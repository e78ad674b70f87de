"""What every scenario of the demo stands on: a cluster with Kneescale on it, and models that serve."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

from e2e.cluster.base import Cluster
from e2e.cluster.kubectl import Kubectl
from e2e.demo.inference_models import NAMESPACE, DemoModel, ModelsOnCluster
from e2e.demo.load import Stream, try_each_sample
from e2e.demo.samples import Sample
from e2e.demo.services import reach
from e2e.demo.system import Kneescale, write_overlay
from e2e.demo.watch import watch_while
from e2e.images import Images, build_images
from harness.progress import Progress
from harness.runner import CommandError, Runner

SETTLE_TIMEOUT_S = 480.0
SETTLE_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Stage:
    """A cluster, with one backend; what a scenario makes goes to `folder`, what it shows to `stream`."""

    cluster: Cluster
    kind: str
    backend: str
    folder: Path
    runner: Runner
    progress: Progress
    stream: TextIO

    @property
    def kubectl(self) -> Kubectl:
        """The cluster's kubectl."""
        return Kubectl(self.cluster.kubectl, self.cluster.kubeconfig, self.runner)

    @property
    def models(self) -> ModelsOnCluster:
        """The demo's models there."""
        return ModelsOnCluster(self.kubectl)

    @property
    def kneescale(self) -> Kneescale:
        """Kneescale there."""
        return Kneescale(self.kubectl)

    def set_up(self, models: Sequence[DemoModel]) -> Images:
        """Have a cluster, Kneescale, and of all models these, serving; return the images.

        Raises ClusterError, CommandError, MissingPackagesError, TimeoutError or RuntimeError where it cannot.
        """
        self.cluster.up()
        images = self._provide_images(models)
        self.models.keep_only([model.name for model in models])
        self.install(images, "SpatioTemporal")
        with self.progress.step("InferenceModels: profile, place, start", about_s=150):
            artefacts = {name: self.cluster.image_ref(image.ref) for name, image in images.models.items()}
            self.models.apply(models, artefacts, self.folder / "models.yaml")
            self.settle("SpatioTemporal")
        return images

    def install(self, images: Images, policy: str) -> None:
        """Have Kneescale's operator and agents run with that scheduling policy."""
        with self.progress.step(f"Kneescale from its manifests, schedule {policy}", about_s=15):
            overlay = self.folder / "overlay"
            refs = images.manifest_refs(self.cluster.image_ref)
            write_overlay(overlay, self.backend, refs, policy)
            self.kneescale.install(overlay)

    def settle(self, policy: str) -> None:
        """Show the models until all of them serve under that policy. Raises TimeoutError."""
        asyncio.run(watch_while(self._until_settled(policy), partial(self.view, "-o=wide"), self.stream))

    def view(self, *options: str) -> str:
        """Return what kubectl get inferencemodels shows."""
        try:
            return self.models.overview(*options)
        except CommandError as error:
            return str(error)  # a view that fails once must not end what it shows

    def reach(self, model: DemoModel, samples: Sequence[Sample], stack: ExitStack) -> Stream:
        """Reach a model until `stack` closes, to ask it for these."""
        endpoint = stack.enter_context(reach(self.kubectl, NAMESPACE, model.name))
        return Stream(model.name, endpoint, samples)

    def try_all(self, streams: Sequence[Stream]) -> None:
        """Ask for every sample over REST and gRPC. Raises RuntimeError if one gets no right answer."""
        with self.progress.step("try every sample over REST and gRPC", about_s=5):
            asyncio.run(_try_all(streams))

    def explain(self) -> str:
        """Return what the cluster says about itself, for a step that failed."""
        parts = []
        for explain in (self.models.explain, self.kneescale.explain):
            try:
                parts.append(explain())
            except CommandError as error:
                parts.append(str(error))
        return "\n".join(parts)

    def _provide_images(self, models: Sequence[DemoModel]) -> Images:
        images = build_images(self.progress, [m.artefact for m in models if m.artefact], self.runner)
        with self.progress.step("images onto the nodes", about_s=20):
            self.cluster.load_images(images.archives)
        return images

    async def _until_settled(self, policy: str) -> None:
        deadline_s = time.monotonic() + SETTLE_TIMEOUT_S
        while under_way := await asyncio.to_thread(self.models.unsettled, policy):
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"after {SETTLE_TIMEOUT_S:.0f} s: {under_way}")
            await asyncio.sleep(SETTLE_POLL_S)


async def _try_all(streams: Sequence[Stream]) -> None:
    await asyncio.gather(*(try_each_sample(stream) for stream in streams))
