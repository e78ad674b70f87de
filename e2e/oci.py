"""Container images as files: OCI archives, read and (for images of a few files) written."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INDEX = "index.json"
REF = "org.opencontainers.image.ref.name"
MEDIA_TYPE = "application/vnd.oci.image"


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image in an archive: its reference and the digest of its manifest (sha256:...)."""

    ref: str
    digest: str


def images_in(archive: Path) -> list[NamedImage]:
    """Return the named images in an OCI archive. Raises ValueError if it is none."""
    try:
        with tarfile.open(archive) as tar:
            manifests = json.loads(_read(tar, INDEX))["manifests"]
    except (KeyError, tarfile.ReadError) as error:
        raise ValueError(f"{archive} is not an OCI archive: {error}") from error
    return [
        NamedImage(m["annotations"][REF], m["digest"]) for m in manifests if REF in m.get("annotations", {})
    ]


def write_image(archive: Path, ref: str, files: Mapping[str, Path], entrypoint: Sequence[str] = ()) -> None:
    """Write an OCI archive with an image of one layer that holds `files` (path in the image: file here)."""
    layer = _layer(files)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": list(entrypoint)},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    blobs = {"config.v1+json": _json(config), "layer.v1.tar": layer}
    descriptors = {kind: _descriptor(kind, blob) for kind, blob in blobs.items()}
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{MEDIA_TYPE}.manifest.v1+json",
            "config": descriptors["config.v1+json"],
            "layers": [descriptors["layer.v1.tar"]],
        }
    )
    named = {**_descriptor("manifest.v1+json", manifest), "annotations": {REF: ref}}
    with tarfile.open(archive, "w") as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(tar, INDEX, _json({"schemaVersion": 2, "manifests": [named]}))
        for blob in (*blobs.values(), manifest):
            _add(tar, f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}", blob)


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    return file.read() if file is not None else b"{}"


def _layer(files: Mapping[str, Path]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in _folders(files):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        for name, source in sorted(files.items()):
            mode = 0o755 if source.stat().st_mode & 0o111 else 0o644
            _add(tar, name.lstrip("/"), source.read_bytes(), mode)
    return buffer.getvalue()


def _folders(files: Mapping[str, Path]) -> Iterator[str]:
    parents = {str(parent) for name in files for parent in Path(name.lstrip("/")).parents}
    return iter(sorted(parents - {"."}))


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    tar.addfile(info, io.BytesIO(content))


def _descriptor(kind: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": f"{MEDIA_TYPE}.{kind}", "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()
