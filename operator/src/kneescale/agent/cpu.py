"""The `cpu` backend: the CPUs this process may use are one device, shared in whole cores by grant.

A CFS quota is right over 100 ms only, which is longer than many an SLO, so none is used:
a lane of p GPU% is p/100 of the cores, and the worker runs that many threads.
"""

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from threading import Event

from kneescale.agent.backend import (
    ContainerEdits,
    ContextLosses,
    Device,
    Share,
    Trouble,
    attribute_text,
    node_uuid,
)
from kneescale.core import worker_variables
from kneescale.core.backends import Backend
from kneescale.core.cpu_lanes import lane_percent_step
from kneescale.core.tiers import MPS_CLIENTS, Tier

_CPUINFO = Path("/proc/cpuinfo")


class CpuBackend:
    """One device, `cpu0`: the cores in this process's affinity mask."""

    name = Backend.CPU.value
    knows_devices = True

    def __init__(self, node_name: str, tier: Tier) -> None:
        self._cores = tuple(sorted(os.sched_getaffinity(0)))
        count = len(self._cores)
        self._device = Device(
            name="cpu0",
            uuid=node_uuid("CPU", node_name),
            product_name=attribute_text(f"CPU-{count}x-{_model_slug(_CPUINFO.read_text())}"),
            memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            # As many workers as an MPS server takes, so that plans for both backends look alike.
            clients=MPS_CLIENTS,
            lane_percent_step=lane_percent_step(count),
            tier=tier,
        )

    def devices(self) -> tuple[Device, ...]:
        """The one device."""
        return (self._device,)

    def troubles(self) -> tuple[Trouble, ...]:
        """None: a node has CPUs."""
        return ()

    def context_losses(self) -> Mapping[str, ContextLosses]:
        """None: threads share nothing that a fault could take from them all."""
        return {}

    def container_edits(self, device: Device, share: Share) -> ContainerEdits:
        """The cores, for the worker to pin its threads to."""
        return ContainerEdits({worker_variables.CORES: ",".join(map(str, self._cores))})

    def reserve(self, device: Device, share: Share) -> None:
        """Nothing is to be made ready."""

    def release_others(self, claim_uids: Collection[str]) -> None:
        """Nothing was."""

    def run(self, stop: Event) -> None:
        """Nothing to look at."""


def _model_slug(cpuinfo: str) -> str:
    """The processor's name as lower-case words joined by dashes; `unknown` where the kernel gives none."""
    match = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return re.sub(r"[^a-z0-9]+", "-", match.group(1).lower()).strip("-") if match else "unknown"
