"""Building images without a Docker engine: buildah, with a storage of its own in the cache."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from e2e.oci import images_in
from harness import cache
from harness.runner import CommandError, Runner, succeeds

CERTIFICATES = "/etc/ssl/certs"
CERTIFICATE_BUNDLE = f"{CERTIFICATES}/ca-certificates.crt"
REPOSITORY = "localhost/kneescale"


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image that was built: its reference, which names its content, and its OCI archive."""

    ref: str
    archive: Path


@dataclass(frozen=True, slots=True)
class Buildah:
    """Builds images whose names end in a hash of all that they are made from, each only once."""

    runner: Runner

    def image(self, name: str, key: str) -> ImageRef:
        """Return the image of that name and content hash, built or not."""
        return ImageRef(f"{REPOSITORY}/{name}:{key}", cache.home() / "images" / f"{name}-{key}.tar")

    def log(self, image: ImageRef) -> Path:
        """Where the build of an image logs."""
        return cache.home() / "logs" / f"image-{image.archive.stem}.log"

    def build_from_dockerfile(
        self,
        image: ImageRef,
        dockerfile: Path,
        context: Path,
        build_args: Mapping[str, str],
        base: ImageRef | None,
    ) -> None:
        """Build an image that stands on `base`, if that is one of ours. Raises CommandError."""
        self._provide(image, base)
        arguments = [f"--build-arg={name}={value}" for name, value in build_args.items()]
        # The build has this machine's network and no namespaces: it needs no set-up, and little privilege.
        isolation = ["--isolation=chroot", "--network=host", "--layers", "--force-rm"]
        command = [
            "build",
            *isolation,
            *self._trust(),
            *arguments,
            f"--file={dockerfile}",
            f"--tag={image.ref}",
        ]
        self._run(image, *command, str(context))

    def build_from_files(
        self, image: ImageRef, base: ImageRef | None, files: Mapping[Path, str], run: str
    ) -> None:
        """Build an image: `base` or nothing, with files (tar files unpacked), and one command run in it.

        Raises CommandError.
        """
        self._provide(image, base)
        container = f"{image.archive.stem}-working"
        with suppress(CommandError):  # one that an interrupted build left
            self._run(image, "rm", container)
        self._run(image, "from", f"--name={container}", "--pull=never", base.ref if base else "scratch")
        for source, target in files.items():
            self._run(image, "add", container, str(source), target)
        self._run(image, "run", "--isolation=chroot", container, "--", "sh", "-c", run)
        self._run(image, "commit", "--rm", container, image.ref)

    def write_archive(self, image: ImageRef, archive: Path) -> None:
        """Write an image that was built into an OCI archive. Raises CommandError."""
        # zstd: a node takes a third of the time that gzip costs it, and writes less than without compression.
        target = f"oci-archive:{archive}:{image.ref}"
        self._run(image, "push", "--compression-format=zstd", "--format=oci", image.ref, target)

    def forget(self, archive: Path) -> None:
        """Remove an archive, and the image from which it was written."""
        archive.unlink()
        name, _, key = archive.stem.rpartition("-")
        succeeds(self.runner, self._command("rmi", f"{REPOSITORY}/{name}:{key}"))

    def push(self, archive: Path, target: str) -> None:
        """Push the image in an archive to a registry, as `target`. Raises CommandError."""
        self.runner.run(self._command("pull", f"oci-archive:{archive}"))
        self.runner.run(self._command("push", images_in(archive)[0].ref, f"docker://{target}"))

    def _provide(self, image: ImageRef, base: ImageRef | None) -> None:
        if base is not None and not succeeds(self.runner, self._command("inspect", "--type=image", base.ref)):
            self._run(image, "pull", f"oci-archive:{base.archive}")

    def _trust(self) -> list[str]:
        """Let programs in a build trust what this machine trusts, if it was told to trust more than usual.

        The files are mounted, so nothing of it stays in the image.
        """
        if "SSL_CERT_FILE" not in os.environ and "PIP_CERT" not in os.environ:
            return []
        folder = cache.home() / "buildah" / "trust"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pip.conf").write_text(f"[global]\ncert = {CERTIFICATE_BUNDLE}\n")
        (folder / "uv.toml").write_text("system-certs = true\n")
        mounts = {
            CERTIFICATES: CERTIFICATES,
            folder / "pip.conf": "/etc/pip.conf",
            folder / "uv.toml": "/etc/uv/uv.toml",
        }
        return [f"--volume={source}:{target}:ro" for source, target in mounts.items()]

    def _run(self, image: ImageRef, *args: str) -> None:
        log = self.log(image)
        log.parent.mkdir(parents=True, exist_ok=True)
        self.runner.run(self._command(*args), log=log)

    def _command(self, *args: str) -> list[str]:
        storage = cache.home() / "buildah"
        folders = [
            f"--root={storage / 'storage'}",
            f"--runroot={storage / 'run'}",
            "--storage-driver=overlay",
        ]
        # In a mount namespace: buildah would leave a mount behind.
        return ["unshare", "--mount", "buildah", *folders, *args]
