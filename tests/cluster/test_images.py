"""Images are named by all that they are made from, and built only when that changes."""

import io
import os
import shutil
from pathlib import Path

import pytest

from e2e.buildah import Buildah, ImageRef
from e2e.images import ImageBuilder
from harness import cache
from harness.progress import Progress
from tests.cluster.recording_runner import RecordingRunner

PROGRESS = Progress(io.StringIO())


class FakeBuildah(RecordingRunner):
    """Writes the archives that are pushed."""

    def __init__(self, failing: tuple[str, ...] = ()) -> None:
        super().__init__(failing=failing)
        self.answers = {" push ": lambda argv: str(Path(argv[-1].split(":")[1]).write_text("image"))}


@pytest.fixture(autouse=True)
def nothing_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: name)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("PIP_CERT", raising=False)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text("FROM scratch")
    (tmp_path / "input").write_text("1")
    return tmp_path


def _build(context: Path, runner: RecordingRunner, args: dict[str, str] | None = None) -> ImageRef:
    builder = ImageBuilder(runner, PROGRESS)
    return builder.build("thing", context / "Dockerfile", context, args or {}, [context / "input"])


def test_an_image_is_built_once(context: Path) -> None:
    runner = FakeBuildah()
    first, second = _build(context, runner), _build(context, runner)
    assert first == second
    assert first.archive.read_text() == "image"
    (built,) = runner.ran(" build ")
    assert built.endswith(f"--file={context / 'Dockerfile'} --tag={first.ref} {context}")


def test_every_input_names_the_image(context: Path) -> None:
    refs = [_build(context, FakeBuildah()).ref, _build(context, FakeBuildah(), {"BASE": "x"}).ref]
    (context / "input").write_text("2")
    refs.append(_build(context, FakeBuildah()).ref)
    (context / "Dockerfile").write_text("FROM other")
    refs.append(_build(context, FakeBuildah()).ref)
    assert len(set(refs)) == 4
    assert all(ref.startswith("localhost/kneescale/thing:") for ref in refs)


def test_a_failed_build_is_not_kept_and_its_log_is_named(context: Path) -> None:
    stream = io.StringIO()
    builder = ImageBuilder(FakeBuildah(failing=(" build ",)), Progress(stream))
    with pytest.raises(RuntimeError, match="refused"):
        builder.build("thing", context / "Dockerfile", context, {}, [])
    assert "FAILED" in stream.getvalue()
    assert "image-thing-" in stream.getvalue()
    assert _build(context, FakeBuildah()).archive.exists()


def test_the_machines_certificates_are_mounted_only_where_it_names_some(
    context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, told = FakeBuildah(), FakeBuildah()
    _build(context, plain)
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
    _build(context, told, {"again": "1"})
    assert not plain.ran("--volume")
    assert told.ran("--volume=/etc/ssl/certs:/etc/ssl/certs:ro")


def test_an_image_that_is_not_kept_leaves_buildahs_storage_too(context: Path, cache_home: Path) -> None:
    folder = cache_home / "images"
    folder.mkdir(parents=True)
    for age in range(cache.KEPT):
        (folder / f"thing-{age}.tar").touch()
        os.utime(folder / f"thing-{age}.tar", (1000 - age, 1000 - age))
    runner = FakeBuildah()
    image = _build(context, runner)
    assert {path.stem for path in folder.glob("*.tar")} == {image.archive.stem, "thing-0", "thing-1"}
    assert runner.ran("rmi localhost/kneescale/thing:2")


def test_a_base_that_buildah_forgot_comes_from_its_archive(cache_home: Path) -> None:
    runner = RecordingRunner(failing=["inspect"])
    buildah = Buildah(runner)
    base = ImageRef("localhost/kneescale/base:1", cache_home / "base.tar")
    buildah.build_from_dockerfile(buildah.image("thing", "1"), Path("Dockerfile"), Path(), {}, base)
    assert runner.ran(f"pull oci-archive:{base.archive}")
