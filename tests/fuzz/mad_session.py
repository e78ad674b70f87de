"""A broker between two mad workers and an honest one, and what holds whatever the mad ones say.

What drives it decides what they say and how long things take: hypothesis in the tests, a coverage-guided
fuzzer in `make fuzz`.
"""

from functools import cache

from kneescale.agent.assignment import Assignment, assign
from kneescale.agent.broker import GrantBroker
from kneescale.agent.claims import parse_allocated_claim
from kneescale.agent.trace import Trace
from kneescale.api.gpu_schedule import parse_gpu_schedule
from kneescale.core.errors import ProtocolError
from kneescale.core.units import NS_PER_S, WHOLE_GPU_PERCENT
from kneescale.core.wire import Arrived, Decoder, Done, Grant, Hello, Message, Role, Terms, encode
from tests.agent.builders import NODE, allocated_claim, partition, schedule

#: "a" serves and "p" profiles, or so the schedule says.
MAD = ("a", "p")
HONEST = "b"
_MOST_FRAME_BYTES = 64


class MadSession:
    """Every method keeps the invariants, or raises AssertionError."""

    def __init__(self) -> None:
        self._trace = Trace()
        self._broker = GrantBroker(self._trace)
        self.now_ns = NS_PER_S
        self._broker.assign(_assignment(), self.now_ns)
        self._decoders = {name: Decoder() for name in MAD}
        #: What the honest worker has: items that wait, and its grants with the time at which they begin.
        self._waiting = 0
        self._running: list[tuple[int, Grant]] = []
        self._broker.handle(HONEST, Hello(Role.SERVE, 0), self.now_ns)

    def feed(self, name: str, data: bytes) -> None:
        """Bytes from a mad worker; one that is no worker in its right mind is hung up on."""
        decoder = self._decoders[name]
        try:
            for message in decoder.feed(data):
                answer = self._broker.handle(name, message, self.now_ns)
                assert answer is None or isinstance(answer, Terms)
        except ProtocolError:
            self.hang_up(name)
        else:
            assert len(decoder._pending) < _MOST_FRAME_BYTES, "what is kept is less than a frame"
        self._check()

    def say(self, name: str, message: Message) -> None:
        """A whole message from a mad worker, perhaps behind half of another."""
        self.feed(name, encode(message))

    def claim_done(self, name: str, grant_id: int) -> None:
        """A mad worker says that it just did a batch, which may be its own, another's or nobody's."""
        self.say(name, Done(grant_id, self.now_ns, self.now_ns))

    def hang_up(self, name: str) -> None:
        """A mad worker's connection ends; it may connect again at once."""
        self._broker.left(name, self.now_ns)
        self._decoders[name] = Decoder()

    def honest_items(self, count: int) -> None:
        """Items arrive at the honest worker."""
        self._broker.handle(HONEST, Arrived(count, self.now_ns), self.now_ns)
        self._waiting += count
        self._check()

    def pass_time(self, passed_ns: int) -> None:
        """Time goes by: the honest worker's batches end in time, and the dispatcher decides."""
        self.now_ns += passed_ns
        for begins_ns, grant in [run for run in self._running if run[1].finish_by_ns <= self.now_ns]:
            self._running.remove((begins_ns, grant))
            done = Done(grant.grant_id, begins_ns, grant.finish_by_ns)
            self._broker.handle(HONEST, done, self.now_ns)
        for name in self._broker.fence(self.now_ns):
            assert name in MAD, "the honest worker is never late"
            self.hang_up(name)
        for refused in self._broker.refuse(self.now_ns):
            self._waiting -= refused.count * (refused.partition == HONEST)
        for granted in self._broker.tick(self.now_ns):
            if granted.partition == HONEST:
                self._waiting -= granted.grant.batch
                first_ns = [
                    run.finish_by_ns for _, run in self._running if run.grant_id == granted.grant.follows
                ]
                self._running.append((max([self.now_ns, *first_ns]), granted.grant))
        self._check()

    def finish(self) -> None:
        """Without the mad workers the honest one is served to the end, and soon."""
        for name in MAD:
            self.hang_up(name)
        for _ in range(1_000):
            if not self._waiting and not self._running:
                break
            self.pass_time(10_000_000)
        assert not self._waiting
        assert not self._running
        assert self._trace.running_percent == 0

    def _check(self) -> None:
        assert self._trace.overcommitted == 0
        assert 0 <= self._trace.running_percent <= WHOLE_GPU_PERCENT
        (honest,) = (view for view in self._broker.views(self.now_ns) if view.name == HONEST)
        assert honest.connected
        assert not honest.hung
        assert honest.queued_items == self._waiting


@cache
def _assignment() -> Assignment:
    """Two lanes and batches of up to four: a small one is made thousands of times over."""
    surface = [
        {"gpuPercent": percent, "batch": batch, "latencyMicroseconds": 200_000 * batch // percent}
        for percent in (50, 100)
        for batch in (1, 4)
    ]
    serving = [partition(name, lanes=[50, 100], batch=4, surface=surface) for name in ("a", HONEST)]
    profiling = partition("p", role="Profile", lanes=[50, 100], surface=[])
    spec = parse_gpu_schedule(schedule([*serving, profiling])).spec
    return assign(spec, [parse_allocated_claim(allocated_claim(name), NODE) for name in (*MAD, HONEST)])
