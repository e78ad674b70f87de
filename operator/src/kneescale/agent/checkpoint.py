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

#: The first one kept neither memory nor clients of a claim.
_VERSION = 2


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

    Raises InvalidInputError, and leaves the file alone, when it is none or of a newer version.
    """
    if not path.exists():
        return Checkpoint()
    try:
        document = json.loads(path.read_text())
    except ValueError as error:
        raise InvalidInputError(f"{path} is not JSON ({error}); move it away to start without it") from error
    match document:
        case {"version": 1 | 2, "claims": [*claims], "schedules": [*schedules]}:
            decoded = [decode(PreparedClaim, claim, f"{path}: claims[{i}]") for i, claim in enumerate(claims)]
            return Checkpoint(tuple(decoded), tuple(schedules))
        case {"version": int(version)} if version > _VERSION:
            raise InvalidInputError(
                f"{path} is of version {version}, written by a newer agent, and this one reads {_VERSION}: "
                "run the newer agent again, or drain the node and move the file away"
            )
    raise InvalidInputError(f"{path} is not a checkpoint; move it away to start without it")
