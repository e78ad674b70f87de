"""`python -m kneescale.mps`: keep this node's MPS control daemons until SIGTERM.

KNEESCALE_STATE_DIR is the agent's state folder, /var/lib/kneescale where it is not set.
"""

import os
import signal
import sys
from functools import partial
from pathlib import Path
from threading import Event

from kneescale.mps.service import MpsService, keeper_of
from kneescale.telemetry import logs


def main() -> int:
    """Exit status 0 after SIGTERM, 1 when a daemon could not be kept."""
    logs.configure()
    state_dir = Path(os.environ.get("KNEESCALE_STATE_DIR", "/var/lib/kneescale"))
    ending = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    return 0 if MpsService(state_dir, partial(keeper_of, state_dir)).run(ending) else 1


sys.exit(main())
