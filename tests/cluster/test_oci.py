"""Image archives can be written and read."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from e2e import oci


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    program = tmp_path / "program"
    program.write_text("run")
    program.chmod(0o755)
    oci.write_image(
        tmp_path / "image.tar", "localhost/a:1", {"/usr/bin/program": program}, ["/usr/bin/program"]
    )
    return tmp_path / "image.tar"


def test_a_written_image_has_its_name_and_the_digest_of_its_manifest(archive: Path) -> None:
    (image,) = oci.images_in(archive)
    assert image.ref == "localhost/a:1"
    with tarfile.open(archive) as tar:
        file = tar.extractfile("blobs/sha256/" + image.digest.removeprefix("sha256:"))
        assert file is not None
        manifest = json.load(file)
        (layer,) = manifest["layers"]
        content = tar.extractfile("blobs/sha256/" + layer["digest"].removeprefix("sha256:"))
        assert content is not None
        with tarfile.open(fileobj=io.BytesIO(content.read())) as files:
            modes = {file.name: file.mode for file in files}
    assert modes == {"usr": 0o755, "usr/bin": 0o755, "usr/bin/program": 0o755}


def test_the_same_files_make_the_same_image(archive: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.tar"
    oci.write_image(again, "localhost/a:1", {"/usr/bin/program": tmp_path / "program"}, ["/usr/bin/program"])
    assert again.read_bytes() == archive.read_bytes()


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no archive")
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.add(tmp_path / "text", "text")
    for name in ("text", "other.tar"):
        with pytest.raises(ValueError, match="is not an OCI archive"):
            oci.images_in(tmp_path / name)
