"""The images of the local cluster, built once for each content: bases, operator, worker and models."""

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.buildah import Buildah, ImageRef
from harness import cache
from harness.checkout import PACKAGE_SOURCES, ROOT, uv
from harness.debian import ensure_packages
from harness.progress import Progress
from harness.runner import Runner, Shell
from worker_image import cpu_torch

MODELS = ROOT / "worker_image" / "models"

SUITE = "bookworm"
SUITE_PYTHON = "3.11"
BASE_PACKAGES = "python3,python3-venv,python3-pip,python-is-python3,ca-certificates"
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
DEBOOTSTRAP = (
    "--variant=minbase",
    f"--include={BASE_PACKAGES}",
    *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
)
TORCH_FOLDER = f"/usr/local/lib/python{SUITE_PYTHON}/dist-packages"
# Compiled so that a worker starts quickly; some of torch's files are for newer Pythons and do not compile.
COMPILE = f"python3 -m compileall -qq -j 0 --invalidation-mode unchecked-hash {TORCH_FOLDER}"
COMPILE_TORCH = f"{COMPILE}; python3 -c 'import torch'"

BUILD_PACKAGES = {"buildah": "buildah", "mmdebstrap": "mmdebstrap", "util-linux": "unshare"}
TORCH_PACKAGES = {"gcc": "gcc", "binutils": "readelf"}


@dataclass(frozen=True, slots=True)
class Images:
    """The images of one state of the source; `models` by the name of the model."""

    operator: ImageRef
    worker: ImageRef
    models: Mapping[str, ImageRef]

    def manifest_refs(self, image_ref: Callable[[str], str]) -> dict[str, str]:
        """The images of Kneescale itself, by their names in the manifests; `image_ref` is a cluster's."""
        own = {"kneescale/operator": self.operator, "kneescale/worker": self.worker}
        return {name: image_ref(image.ref) for name, image in own.items()}

    @property
    def archives(self) -> list[Path]:
        """The archives of all of them."""
        return [image.archive for image in (self.operator, self.worker, *self.models.values())]


def build_images(progress: Progress, models: Sequence[str] = (), runner: Runner | None = None) -> Images:
    """Build the images of operator, worker and `models`, named as in worker_image/models/requirements."""
    builder = ImageBuilder(runner or Shell(), progress)
    return Images(builder.operator(), builder.worker(), {model: builder.model(model) for model in models})


def cpu_torch_site() -> Path:
    """Return a folder to put into PYTHONPATH, with torch for CPUs and all that it needs, for this Python."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return _torch_site(python, Shell(), Progress())


@dataclass(frozen=True, slots=True)
class ImageBuilder:
    """Builds each image and what it stands on."""

    runner: Runner
    progress: Progress

    def base(self) -> ImageRef:
        """A small Debian with Python."""
        key = cache.content_hash(SUITE, *DEBOOTSTRAP)
        image = self._buildah.image("base", key)

        def build() -> None:
            with tempfile.TemporaryDirectory() as folder:
                system = Path(folder, "system.tar")
                self.runner.run(
                    ["mmdebstrap", *DEBOOTSTRAP, SUITE, str(system)], log=self._buildah.log(image)
                )
                self._buildah.build_from_files(image, None, {system: "/"}, run="true")

        return self._once(image, about_s=45, build=build)

    def base_with_torch(self) -> ImageRef:
        """The base with a torch for CPUs."""
        base = self.base()
        site = _torch_site(SUITE_PYTHON, self.runner, self.progress)
        image = self._buildah.image(
            "base-torch", cache.content_hash(base.ref, site.parent.name, COMPILE_TORCH)
        )

        def build() -> None:
            self._buildah.build_from_files(image, base, {site: TORCH_FOLDER}, run=COMPILE_TORCH)

        return self._once(image, about_s=60, build=build)

    def operator(self) -> ImageRef:
        """The image of operator and agent."""
        return self._product("operator", ROOT / "operator" / "Dockerfile", self.base())

    def worker(self) -> ImageRef:
        """The image of the worker."""
        return self._product("worker", ROOT / "worker_image" / "Dockerfile", self.base_with_torch())

    def model(self, name: str) -> ImageRef:
        """The image that holds one model."""
        base = self.base_with_torch()
        args = {"BASE_IMAGE": base.ref, "MODEL": name}
        inputs = [MODELS / "export.py", MODELS / "requirements" / f"{name}.txt"]
        return self.build(f"model-{name}", MODELS / "Dockerfile", MODELS, args, inputs, base)

    def build(
        self,
        name: str,
        dockerfile: Path,
        context: Path,
        build_args: Mapping[str, str],
        inputs_to_hash: Sequence[Path],
        base: ImageRef | None = None,
    ) -> ImageRef:
        """Build an image from a Dockerfile, once for each content."""
        image = self._buildah.image(
            name, cache.content_hash(dockerfile, json.dumps(build_args), *inputs_to_hash)
        )

        def build() -> None:
            self._buildah.build_from_dockerfile(image, dockerfile, context, build_args, base)

        return self._once(image, about_s=60, build=build)

    def _product(self, name: str, dockerfile: Path, base: ImageRef) -> ImageRef:
        inputs = [ROOT / source for source in PACKAGE_SOURCES]
        return self.build(name, dockerfile, ROOT, {"BASE": base.ref}, inputs, base)

    def _once(self, image: ImageRef, about_s: float, build: Callable[[], None]) -> ImageRef:
        def make(archive: Path) -> None:
            ensure_packages(BUILD_PACKAGES, self.runner, self.progress)
            log = self._buildah.log(image)
            log.unlink(missing_ok=True)
            with self.progress.step(f"build image {image.ref}", about_s, log=log):
                build()
                self._buildah.write_archive(image, archive)

        cache.made_by_content(image.archive, make, self._buildah.forget)
        return image

    @property
    def _buildah(self) -> Buildah:
        return Buildah(self.runner)


def _torch_site(python: str, runner: Runner, progress: Progress) -> Path:
    requirements = [cpu_torch.TORCH, *cpu_torch.DEPENDENCIES, *_locked_numpy(runner)]
    key = cache.content_hash(python, *requirements, Path(cpu_torch.__file__))

    def install(folder: Path) -> None:
        ensure_packages(TORCH_PACKAGES, runner, progress)
        target = folder / "site-packages"
        options = ["--quiet", "--no-deps", f"--python-version={python}", f"--target={target}"]
        with progress.step(f"install {cpu_torch.TORCH} for CPUs, Python {python}", about_s=60):
            runner.run([str(uv()), "pip", "install", *options, *requirements])
            cpu_torch.make_cpu_only(target)

    return cache.made_by_content(cache.home() / "torch-cpu" / key, install) / "site-packages"


def _locked_numpy(runner: Runner) -> list[str]:
    options = ["--frozen", "--no-hashes", "--no-emit-project", "--no-dev", "--no-annotate", "--quiet"]
    exported = runner.run([str(uv()), "export", *options], cwd=ROOT)
    return [line for line in exported.splitlines() if line.startswith("numpy==")]
