"""The static SM partitions of one daemon, kept as claims ask for them.

From CUDA 13.1 a daemon started with `-S` reserves SMs for clients, in chunks (NVIDIA, Multi-Process Service,
"Static SM Partitioning"). They end with the daemon.
"""

import logging

from kneescale.mps import protocol
from kneescale.mps.control import Control
from kneescale.mps.partition_files import PartitionFiles
from kneescale.mps.protocol import DaemonAnswerError

_log = logging.getLogger(__name__)


class SmPartitions:
    """What the daemon of a GPU has made, by claim."""

    def __init__(self, uuid: str, files: PartitionFiles, control: Control) -> None:
        self._uuid = uuid
        self._files = files
        self._control = control
        self._made: dict[str, str] = {}
        #: Why some were not made, each said once.
        self._refusals: dict[str, str] = {}
        files.untell()

    def lost(self) -> None:
        """The daemon ended, and its partitions with it."""
        if self._made:
            self._made.clear()
            self._files.untell()

    def keep(self) -> None:
        """Make what is asked for, and take back what no longer is.

        Raises NoAnswerError.
        """
        asked = self._files.asked()
        for claim in self._made.keys() - asked.keys():
            self._remove(claim)
        for claim in self._refusals.keys() - asked.keys():
            del self._refusals[claim]
        for claim, chunks in asked.items():
            if claim not in self._made:
                self._make(claim, chunks)
            if claim in self._made:
                # Also one that was asked for anew before its partition was gone: its folder is another.
                self._files.tell(claim, self._made[claim])

    def _make(self, claim: str, chunks: int) -> None:
        """Where too few are free, a worker that goes still has them: it is tried again."""
        try:
            made = protocol.parse_partition(self._control.ask(protocol.add_partition(self._uuid, chunks)))
        except DaemonAnswerError as error:
            if self._refusals.get(claim) != str(error):
                _log.warning("%s: claim %s: %s", self._uuid, claim, error, extra={"device": self._uuid})
            self._refusals[claim] = str(error)
            return
        self._refusals.pop(claim, None)
        self._made[claim] = made

    def _remove(self, claim: str) -> None:
        """It goes once no client is in it: until then the daemon refuses, and is asked again."""
        made = self._made[claim]
        self._control.ask(protocol.remove_partition(made))
        if not protocol.has_partition(self._control.ask(protocol.LIST_PARTITIONS), made):
            del self._made[claim]
