"""CDI: what a claim adds to its containers, as a file that the container runtime reads.

Container Device Interface specification 0.6.0; one file and one device per claim.
"""

import json
from pathlib import Path

from kneescale.agent.backend import ContainerEdits, Mount
from kneescale.agent.files import remove, write_atomically
from kneescale.api.names import DRIVER

_CDI_VERSION = "0.6.0"
_KIND = f"{DRIVER}/claim"
_MOUNT_OPTIONS = ("nosuid", "nodev", "noexec", "rbind")


def device_id(claim_uid: str) -> str:
    """The fully qualified CDI name of a claim's device."""
    return f"{_KIND}={claim_uid}"


def write_spec(cdi_dir: Path, claim_uid: str, edits: ContainerEdits) -> None:
    """Publish a claim's device; the same again when it is already there."""
    spec = {
        "cdiVersion": _CDI_VERSION,
        "kind": _KIND,
        "devices": [{"name": claim_uid, "containerEdits": _render(edits)}],
    }
    write_atomically(_path(cdi_dir, claim_uid), json.dumps(spec, indent=1))


def remove_spec(cdi_dir: Path, claim_uid: str) -> None:
    """Take a claim's device away, if it is there."""
    remove(_path(cdi_dir, claim_uid))


def _path(cdi_dir: Path, claim_uid: str) -> Path:
    return cdi_dir / f"{DRIVER}-claim_{claim_uid}.json"


def _render(edits: ContainerEdits) -> dict[str, object]:
    return {
        "env": [f"{name}={value}" for name, value in edits.env.items()],
        "mounts": [_render_mount(mount) for mount in edits.mounts],
    }


def _render_mount(mount: Mount) -> dict[str, object]:
    options = ["rw" if mount.writable else "ro", *_MOUNT_OPTIONS]
    return {"hostPath": mount.host_path, "containerPath": mount.container_path, "options": options}
