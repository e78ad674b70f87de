"""As agent_process.py, but its dispatcher is stuck as soon as all is up: `python stuck_agent.py DIR`."""

import sys
from pathlib import Path
from threading import Event

from kneescale.agent import dispatcher_host
from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.core.units import NS_PER_S
from tests.agent.agent_process import main, settings_below

_turn = DispatcherHost.turn


def _turn_until_all_is_up(self: DispatcherHost) -> None:
    if settings_below(Path(sys.argv[1])).registration_socket.exists():
        with self._lock:
            Event().wait()
    _turn(self)


if __name__ == "__main__":
    dispatcher_host._STUCK_NS = NS_PER_S  # type: ignore[misc]  # ten in earnest
    DispatcherHost.turn = _turn_until_all_is_up  # type: ignore[method-assign]
    sys.exit(main())
