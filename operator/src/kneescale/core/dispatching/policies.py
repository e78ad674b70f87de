"""The policies that a GPUSchedule can name."""

from kneescale.core.dispatching.policy import Policy
from kneescale.core.dispatching.spatio_temporal import SpatioTemporal
from kneescale.core.dispatching.temporal import Temporal
from kneescale.core.errors import InvalidInputError

_POLICIES: dict[str, type[Policy]] = {"SpatioTemporal": SpatioTemporal, "Temporal": Temporal}


def policy_named(name: str) -> Policy:
    """A new policy by its name in `GPUSchedule.spec.policy`.

    Raises InvalidInputError on another name.
    """
    if name not in _POLICIES:
        raise InvalidInputError(f"policy must be {' or '.join(_POLICIES)}, not {name!r}")
    return _POLICIES[name]()
