"""What the program of the MPS control daemons is told: a file for each GPU that shall have one.

`<state_dir>/mps/<uuid>/wanted.json`, as `kneescale.mps` reads it (ADR 22). The folder belongs to the daemons'
user, who is the workers' too, and holds what the daemon makes there.
"""

import json
import logging
import os
from collections.abc import Callable, Collection, Set
from pathlib import Path

from kneescale.agent.backend import Device
from kneescale.agent.files import write_atomically
from kneescale.api.codec import encode
from kneescale.core.tiers import Tier
from kneescale.core.units import MIB, NS_PER_S
from kneescale.mps.wanted import WantedDaemon, wanted_files, wanted_path

log = logging.getLogger(__name__)

#: A daemon that ends takes its clients along, so a GPU that is away for a moment keeps its own: several looks
#: at the driver must have missed it.
_MISSED_NS = 30 * NS_PER_S


class WantedDaemons:
    """Keeps those files as the devices are."""

    def __init__(self, state_dir: Path, worker_uid: int, now_ns: Callable[[], int]) -> None:
        self._state_dir = state_dir
        self._worker_uid = worker_uid
        self._now_ns = now_ns
        #: Since when each file is there for a GPU that is not.
        self._missed_ns: dict[Path, int] = {}
        #: Since when there is to be a daemon, by GPU.
        self._wanted_ns: dict[str, int] = {}

    def wanted_for_ns(self, uuid: str) -> int:
        """How long there has been to be a daemon for that GPU; 0 where there is to be none."""
        now_ns = self._now_ns()
        return now_ns - self._wanted_ns.get(uuid, now_ns)

    def update(self, devices: Collection[Device]) -> None:
        """Ask for a daemon for each of these devices, and soon for no others."""
        now_ns = self._now_ns()
        self._wanted_ns = {device.uuid: self._wanted_ns.get(device.uuid, now_ns) for device in devices}
        wanted = {wanted_path(self._state_dir, device.uuid): _content(device) for device in devices}
        try:
            self._remove_others(wanted.keys())
            for path, content in wanted.items():
                self._write(path, content)
        except OSError as error:
            log.warning("the MPS daemons are not told of all GPUs: %s", error)

    def _remove_others(self, wanted: Set[Path]) -> None:
        now_ns = self._now_ns()
        others = set(wanted_files(self._state_dir)) - wanted
        self._missed_ns = {path: self._missed_ns.get(path, now_ns) for path in others}
        for path, since_ns in self._missed_ns.items():
            if now_ns - since_ns >= _MISSED_NS:
                path.unlink()

    def _write(self, path: Path, content: str) -> None:
        if path.exists() and path.read_text() == content:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        os.chown(path.parent, self._worker_uid, -1)
        write_atomically(path, content)
        # Under whatever umask: the daemons' program, which is not root, reads it.
        path.chmod(0o644)


def _content(device: Device) -> str:
    """The limit is for a client without one of its own: the whole device."""
    is_static = device.tier is Tier.SM_PARTITIONS
    return json.dumps(encode(WantedDaemon(device.uuid, device.memory_bytes // MIB, is_static)))
