"""What the agent must not forget over a restart, in one file: prepared claims and GPUSchedules."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kneescale.agent.claims import PreparedClaim
from kneescale.agent.files import write_atomically
from kneescale.api.codec import decode, encode
from kneescale.core.errors import InvalidInputError

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The claims this node prepared, and its GPUSchedules as the API server last gave them."""

    claims: tuple[PreparedClaim, ...] = ()
    schedules: tuple[Mapping[str, Any], ...] = ()


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint; it is on disk when this returns."""
    document = {
        "version": _VERSION,
        "claims": [encode(claim) for claim in checkpoint.claims],
        "schedules": list(checkpoint.schedules),
    }
    write_atomically(path, json.dumps(document))


def load(path: Path) -> Checkpoint:
    """The last checkpoint; an empty one on a node that never had any.

    Raises InvalidInputError when the file is not a checkpoint of this version.
    """
    if not path.exists():
        return Checkpoint()
    try:
        document = json.loads(path.read_text())
    except ValueError as error:
        raise InvalidInputError(f"{path} is not JSON ({error}); move it away to start without it") from error
    if not isinstance(document, dict) or document.get("version") != _VERSION:
        raise InvalidInputError(
            f"{path} is not a checkpoint of version {_VERSION}; move it away to start without it"
        )
    return Checkpoint(
        claims=tuple(
            decode(PreparedClaim, claim, f"{path}: claims[{i}]") for i, claim in enumerate(document["claims"])
        ),
        schedules=tuple(document["schedules"]),
    )
