"""The whole plan: each step in its own module, in the order in which a model comes into service."""

from kneescale.plan.state import Desired, Observed, Settings


def plan(observed: Observed, settings: Settings) -> Desired:
    """What the cluster should be, given what it is."""
    return Desired()
