"""How the agent asks for SM partitions and hears of them: a folder for each claim.

`<state_dir>/mps/<uuid>/partitions/<claim uid>/` holds `chunks`, written by the agent, and `id`, written by
the program of the daemons once there is such a partition. The claim's worker has the folder mounted, and
reads the id before it starts CUDA: it is another one after each start of the daemon.
"""

import os
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from kneescale.core.worker_pod import SM_PARTITION_ID_FILE
from kneescale.mps.files import replace_text
from kneescale.mps.paths import gpu_dir

_CHUNKS = "chunks"


class PartitionFiles:
    """Those folders of one GPU."""

    def __init__(self, state_dir: Path, uuid: str) -> None:
        self._folder = _partitions_dir(state_dir, uuid)

    def folder(self, claim_uid: str) -> Path:
        """The folder of a claim."""
        return self._folder / claim_uid

    def ask(self, claim_uid: str, chunks: int, daemon_uid: int) -> None:
        """Ask for a partition of so many chunks for a claim, of a daemon that runs as that user."""
        folder = self.folder(claim_uid)
        for each in (self._folder, folder):
            each.mkdir(parents=True, exist_ok=True)
            os.chown(each, daemon_uid, -1)
        replace_text(folder / _CHUNKS, str(chunks))

    def asked(self) -> Mapping[str, int]:
        """The chunks of each claim that asks for some."""
        found: dict[str, int] = {}
        for path in self._folder.glob(f"*/{_CHUNKS}"):
            # Asked for no more since; or what a power cut left, which the agent writes again when it starts.
            with suppress(FileNotFoundError, ValueError):
                found[path.parent.name] = int(path.read_text())
        return found

    def tell(self, claim_uid: str, partition_id: str) -> None:
        """Tell a claim's worker which partition it has, if that is still asked for and it is not told yet."""
        path = self.folder(claim_uid) / SM_PARTITION_ID_FILE
        if not path.exists():
            with suppress(FileNotFoundError):
                replace_text(path, partition_id)

    def untell(self) -> None:
        """No claim has a partition any more."""
        for path in self._folder.glob(f"*/{SM_PARTITION_ID_FILE}"):
            path.unlink(missing_ok=True)


def forget_others(state_dir: Path, claim_uids: Collection[str]) -> None:
    """Ask for no partition any more, on any GPU of this node, but for these claims."""
    for folder in state_dir.glob(str(_partitions_dir(Path(), "*") / "*")):
        if folder.name not in claim_uids:
            shutil.rmtree(folder)


def _partitions_dir(state_dir: Path, uuid: str) -> Path:
    return gpu_dir(state_dir, uuid) / "partitions"
