"""How old a client's connection gets.

A client stays on its connection for ever otherwise: it would not see new replicas, nor leave a draining one
or the operator, which holds connections to models that sleep.
"""

import random
from weakref import WeakKeyDictionary

from kneescale.core.units import NS_PER_S

#: At this age connections are closed, gracefully: no request is lost. gRPC itself varies it by a tenth.
CONNECTION_AGE_S = 10
_VARIATION = 0.1


class ConnectionAges:
    """When each connection is to be closed, for a server that counts no ages itself."""

    def __init__(self) -> None:
        self._ends_ns = WeakKeyDictionary[object, int]()

    def is_over(self, connection: object, now_ns: int) -> bool:
        """Whether it should end with this answer; its age counts from the first question on."""
        if connection not in self._ends_ns:
            # Those that were opened at once come back one after the other.
            lasts_s = CONNECTION_AGE_S * random.uniform(1 - _VARIATION, 1 + _VARIATION)
            self._ends_ns[connection] = now_ns + int(lasts_s * NS_PER_S)
        return now_ns >= self._ends_ns[connection]
