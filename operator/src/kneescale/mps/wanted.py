"""Which daemons there shall be: a small file for each GPU, which the agent writes and this program reads.

So the daemons need no inventory of their own, and go on while the agent is away or replaced.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from kneescale.api.codec import Range, Text, decode
from kneescale.core.errors import InvalidInputError
from kneescale.mps.paths import gpu_dir

_WANTED_FILE = "wanted.json"
#: As NVML writes a GPU's UUID. It becomes a folder's name and an argument of a command.
_UUID = r"^GPU-[0-9a-fA-F-]{1,59}$"


@dataclass(frozen=True, slots=True)
class WantedDaemon:
    """The control daemon that a GPU shall have.

    `memory_limit_mebibytes`: device memory that a client may use which was given no limit of its own; a new
    one is for the daemon's next start, since the driver's count of its memory differs a little now and then.
    `is_static`: whether clients have SMs of their own, by partition (`partition_files`); else they share them
    by their percentages.
    """

    uuid: Annotated[str, Text(64, 1, _UUID)]
    memory_limit_mebibytes: Annotated[int, Range(1)]
    is_static: bool = False

    def is_met_by(self, running: "WantedDaemon") -> bool:
        """Whether a daemon that runs as was asked then may go on."""
        return (self.uuid, self.is_static) == (running.uuid, running.is_static)


def wanted_path(state_dir: Path, uuid: str) -> Path:
    """The file that asks for the daemon of a GPU."""
    return gpu_dir(state_dir, uuid) / _WANTED_FILE


def read_wanted(path: Path) -> WantedDaemon:
    """The daemon that the file at `path` asks for.

    Raises InvalidInputError naming the file and what is wrong with it.
    """
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot read {path}: {error}") from error
    return decode(WantedDaemon, document, str(path))


def wanted_files(state_dir: Path) -> list[Path]:
    """All such files of this node."""
    return sorted(state_dir.glob(str(wanted_path(Path(), "*"))))
