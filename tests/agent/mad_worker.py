"""A worker that says hello and then floods its socket for ever: `python mad_worker.py SOCKET`."""

import sys
from pathlib import Path

from kneescale.core.wire import Measured, encode
from kneescale.testing.fake_worker import FakeWorker


def main() -> None:
    """Flood until the agent hangs up."""
    with FakeWorker(Path(sys.argv[1])) as worker:
        worker.hello()
        flood = encode(Measured(1, 1, 1, 1, 1, 1, 1, 1)) * 10_000
        while True:
            worker.send_bytes(flood)


if __name__ == "__main__":
    main()
