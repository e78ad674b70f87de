"""A lane's process: `python -m kneescale_worker.lane_main GPU% CONNECTION MEMORY`, started by LaneProcess.

A program of its own, that takes in neither the servers nor what profiles need: there are several of it. The
environment is the serving worker's, CONNECTION and MEMORY are file descriptors.
"""

import os
import signal
import sys
from dataclasses import replace

from kneescale_worker.executor import make_local_executor
from kneescale_worker.lane_child import LaneLink, serve_lane
from kneescale_worker.settings import configure_logs, parse_settings


def main(gpu_percent: int, link: LaneLink) -> None:
    """Serve one lane until the serving worker closes the connection."""
    configure_logs(os.environ)
    # A terminal's Ctrl-C goes to all processes of a worker, but the serving one decides when a lane ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = replace(parse_settings(os.environ), lanes=(gpu_percent,))
    serve_lane(lambda: make_local_executor(settings), link, settings.max_batch)


if __name__ == "__main__":
    percent, connection, memory = map(int, sys.argv[1:])
    main(percent, LaneLink(connection, memory))
