"""`python -m kneescale.agent`: serve this node until SIGTERM."""

import logging
import os
import signal
import sys
from threading import Thread

from kneescale.agent.agent import Agent
from kneescale.agent.backends import make_backend
from kneescale.agent.cluster_api import KubernetesApi
from kneescale.agent.settings import NODE_NAME, read_settings
from kneescale.core.errors import KneescaleError
from kneescale.telemetry import logs

log = logging.getLogger(__name__)

#: A grant waits at most this long for the interpreter while another thread computes (Python's own is 5 ms).
_SWITCH_INTERVAL_S = 0.0002


def main() -> int:
    """Exit status: 0 after SIGTERM, 1 when a part failed, 2 when a setting is wrong."""
    logs.configure(node=os.environ.get(NODE_NAME, ""))
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        settings = read_settings(os.environ)
        agent = Agent(settings, make_backend(settings), KubernetesApi(settings.kubeconfig))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: Thread(target=agent.stop).start())
        if agent.run():
            return 0
        # sys.exit would wait for the calls of the kubelet, and they for what is stuck.
        os._exit(1)
    except KneescaleError as error:
        log.error("ending: %s", error)  # noqa: TRY400 - the message says what to do
        return 2


sys.exit(main())
