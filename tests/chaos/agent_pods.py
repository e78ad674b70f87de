"""What stands for the agents of a cluster, as kubectl has them."""

import json
from collections.abc import Sequence

from harness.runner import CommandError, Shell


class AgentPods(Shell):
    """Answers for kubectl, of a cluster with an agent on each of these nodes."""

    def __init__(self, *nodes: str) -> None:
        #: What the agent of each node has counted and how often it ended.
        self.overcommitted = dict.fromkeys(nodes, 0)
        self.restarts = dict.fromkeys(nodes, 0)
        #: The nodes whose agent does not answer, and whether the API server does not.
        self.silent: set[str] = set()
        self.away = False

    def run(self, argv: Sequence[str], **_: object) -> str:
        """The agents' pods, or the trace of one."""
        if self.away:
            raise CommandError(argv, "the connection was refused")
        if "pods" in argv:
            return json.dumps({"items": list(map(self._pod, self.restarts))})
        (node,) = (node for node in self.restarts if f"/pods/agent-{node}:" in argv[-1])
        if node in self.silent:
            raise CommandError(argv, f"{node} is silent")
        device = {"name": "gpu0", "overcommitted": self.overcommitted[node], "grants": []}
        return json.dumps({"node": node, "backend": "emulated", "now_ns": 1, "devices": [device]})

    def _pod(self, node: str) -> object:
        status = {"containerStatuses": [{"restartCount": self.restarts[node]}]}
        return {"metadata": {"name": f"agent-{node}"}, "spec": {"nodeName": node}, "status": status}
