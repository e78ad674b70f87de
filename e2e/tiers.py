"""GPUs in another tier than the one that agents choose."""

from collections.abc import Iterator
from contextlib import contextmanager

from e2e.cluster.kubectl import Kubectl
from e2e.demo.system import AGENT, Kneescale
from kneescale.core.tiers import Tier


@contextmanager
def forced(kubectl: Kubectl, tier: Tier) -> Iterator[None]:
    """Force the tier on all agents while the block runs; no worker may run before or after."""
    _set_on_agents(kubectl, f"KNEESCALE_TIER={tier}")
    try:
        yield
    finally:
        _set_on_agents(kubectl, "KNEESCALE_TIER-")


def _set_on_agents(kubectl: Kubectl, variable: str) -> None:
    Kneescale(kubectl).roll_out_agents("set", "env", f"daemonset/{AGENT}", variable)
