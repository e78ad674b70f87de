"""Entry of `python -m kneescale_worker`."""

import signal
import sys

#: What shells report for a program that SIGTERM ended.
_EXIT_TERMINATED = 128 + signal.SIGTERM

if __name__ == "__main__":
    # As a container's first process it would ignore SIGTERM otherwise, and its pod would take its whole grace
    # period to end: so before all else, which takes a second to import. `serve` drains instead, later.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_EXIT_TERMINATED))
    from kneescale_worker.main import main

    sys.exit(main())
