"""What the agents of a run are asked: what they granted, and how often they ended."""

from collections import Counter
from collections.abc import Iterator, Sequence

from e2e.chaos.account import Struck
from e2e.chaos.faults import ENDS_AGENT
from e2e.demo.system import Kneescale
from e2e.demo.trace import overcommitted, parse_trace
from harness.runner import CommandError

#: So far back are grants looked at in the end, beside what agents have counted since they started.
_AN_HOUR_S = 3600.0


class Agents:
    """The agents of the nodes that have one when this is made."""

    def __init__(self, kneescale: Kneescale) -> None:
        """Look how often each has ended by now. Raises CommandError."""
        self._kneescale = kneescale
        self._ended_before = self._ended()
        self._over: list[str] = []
        #: A sentence for each that could not be asked before a fault ended it.
        self.unread: list[str] = []

    def ask_before_its_end(self, node: str) -> None:
        """Ask a node's agent, which a fault is to end, by its own count: all grants would be a load."""
        try:
            self._over += self._granted_over_100(node, seconds=1)
        except (CommandError, LookupError) as error:
            self.unread.append(f"{node}: its agent could not be asked what it had granted: {error}")

    def failures(self, struck: Sequence[Struck]) -> list[str]:
        """A sentence for each thing that must not be, at the end of a run."""
        found = list(self._over)
        for node in self._ended_before:
            try:
                found += self._granted_over_100(node, _AN_HOUR_S)
            except (CommandError, LookupError) as error:
                found.append(f"{node}: its agent cannot be asked what it granted: {error}")
        try:
            found += self._ended_by_no_fault(struck)
        except CommandError as error:
            found.append(f"not known how often the agents ended: {error}")
        return list(dict.fromkeys(found))

    def _granted_over_100(self, node: str, seconds: float) -> list[str]:
        """A sentence for each device that was: of late, or as its agent has counted since it started."""
        pods = [pod for pod in self._kneescale.agents() if pod["spec"].get("nodeName") == node]
        if not pods:
            raise LookupError("it has no agent")
        return [
            f"{node} {trace.device} was granted over 100 GPU% at {instants} instants"
            for pod in pods
            for trace in parse_trace(self._kneescale.told_by(pod, seconds))
            if (instants := overcommitted(trace))
        ]

    def _ended_by_no_fault(self, struck: Sequence[Struck]) -> Iterator[str]:
        faults = Counter(each.victim for each in struck if each.fault in ENDS_AGENT)
        # A pod that was made anew counts from 0 again: then this sees less than there was.
        for node, times in (self._ended() - self._ended_before).items():
            if times > faults[node]:
                yield f"{node}: its agent ended {times} times, and faults ended it {faults[node]} times"

    def _ended(self) -> Counter[str]:
        """How often the agent of each node has ended."""
        ended: Counter[str] = Counter()
        for pod in self._kneescale.agents():
            for status in pod["status"].get("containerStatuses", []):
                ended[pod["spec"]["nodeName"]] += status["restartCount"]
        return ended
