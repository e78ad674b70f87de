"""What holds for any sequence of events, whatever the policy."""

from collections import deque
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kneescale.core.dispatching.dispatcher import Dispatcher, Granted, PartitionTerms
from kneescale.core.dispatching.policies import policy_named
from kneescale.core.surfaces.parametric import Parameters
from kneescale.core.surfaces.surface import doubling_batches
from kneescale.core.units import NS_PER_MS, ms_to_ns
from kneescale.core.wire import Role

NAMES = ("a", "b", "c", "p")
LANE_SETS = ((100,), (40,), (50, 100), (10, 30, 70, 100), tuple(range(10, 101, 10)))


@st.composite
def serve_terms(draw: st.DrawFn) -> PartitionTerms:
    lanes = draw(st.sampled_from(LANE_SETS))
    max_batch = draw(st.sampled_from((1, 2, 8, 16)))
    figures = Parameters(
        host_ms=draw(st.floats(0.5, 20)),
        serial_ms=draw(st.floats(0, 2)),
        fixed_work=draw(st.floats(0, 100)),
        work=draw(st.floats(1, 200)),
    )
    is_pool = draw(st.booleans())
    return PartitionTerms(
        role=Role.SERVE,
        slo_ns=ms_to_ns(draw(st.integers(1, 200))),
        margin_ns=ms_to_ns(draw(st.integers(0, 20))),
        weight=draw(st.integers(1, 100)),
        gpu_percent=draw(st.sampled_from(lanes)),
        batch=draw(st.integers(1, max_batch)),
        # A pool may have a lane twice.
        lanes=(*lanes, lanes[0]) if is_pool else lanes,
        is_pool=is_pool,
        refuses_late=draw(st.booleans()),
        surface=figures.surface(lanes, doubling_batches(max_batch)),
    )


PROFILE_TERMS = PartitionTerms(Role.PROFILE, ms_to_ns(100), 1, 100, 1, LANE_SETS[-1], None)
schedules = st.fixed_dictionaries(
    {}, optional={**{name: serve_terms() for name in NAMES[:3]}, "p": st.just(PROFILE_TERMS)}
)


@given(serve_terms(), st.floats(0, 3), st.booleans())
def test_an_idle_device_refuses_nothing_that_has_just_come(
    terms: PartitionTerms, refused_share: float, had_its_share: bool
) -> None:
    """Whatever was refused of late: else an overload would go on by itself, and for ever."""
    dispatcher = Dispatcher(policy_named("SpatioTemporal"))
    dispatcher.configure({"a": replace(terms, refuses_late=True)})
    dispatcher.joined("a", 0)
    scoreboard = dispatcher.scoreboard
    scoreboard.refuse(refused_share * 100 * scoreboard.window_ns, 0)
    scoreboard.charge("a", 95 if had_its_share else 0, scoreboard.window_ns, 0)
    dispatcher.arrived("a", 1, 0)
    assert dispatcher.refuse(0) == []


@dataclass
class Worker:
    """A connected worker as the test sees it: the ids of its queued items, in order, and its grants."""

    queue: deque[int] = field(default_factory=deque)
    grants: dict[int, list[int]] = field(default_factory=dict)
    asks: bool = False


class DispatcherMachine(RuleBasedStateMachine):
    """Drives a dispatcher with arbitrary events and keeps its own account of items and GPU%."""

    @initialize(
        policy=st.sampled_from(("SpatioTemporal", "Temporal")),
        lead_ms=st.sampled_from((0, 2, 1000)),
        schedule=schedules,
    )
    def start(self, policy: str, lead_ms: int, schedule: dict[str, PartitionTerms]) -> None:
        self.now_ns = 0
        self.dispatcher = Dispatcher(policy_named(policy), lead_ms * NS_PER_MS)
        self.schedule = schedule
        self.dispatcher.configure(schedule)
        self.workers: dict[str, Worker] = {}
        self.in_flight: dict[int, Granted] = {}
        self.next_item = 0
        self.answered: set[int] = set()

    @rule(elapsed_ns=st.sampled_from((0, 1, 50_000, NS_PER_MS, 30 * NS_PER_MS, 5_000 * NS_PER_MS)))
    def time_passes(self, elapsed_ns: int) -> None:
        self.now_ns += elapsed_ns
        self.tick()

    @rule(schedule=schedules)
    def schedule_changes(self, schedule: dict[str, PartitionTerms]) -> None:
        self.schedule = schedule
        self.dispatcher.configure(schedule)
        self.tick()

    @rule(name=st.sampled_from(NAMES))
    def worker_joins(self, name: str) -> None:
        self.drop(name)
        self.dispatcher.joined(name, self.now_ns)
        self.workers[name] = Worker()
        self.tick()

    @rule(name=st.sampled_from(NAMES))
    def worker_leaves(self, name: str) -> None:
        freed = self.dispatcher.left(name, self.now_ns)
        held = self.drop(name)
        assert {ran.run.grant.grant_id for ran in freed} == held
        self.tick()

    @rule(name=st.sampled_from(NAMES[:3]), count=st.integers(1, 40), ago_ms=st.integers(0, 300))
    def items_arrive(self, name: str, count: int, ago_ms: int) -> None:
        arrived_ns = max(0, self.now_ns - ago_ms * NS_PER_MS)
        self.dispatcher.arrived(name, count, arrived_ns)
        if name in self.workers:
            self.workers[name].queue.extend(range(self.next_item, self.next_item + count))
            self.next_item += count
        self.tick()

    @rule(gpu_percent=st.sampled_from(LANE_SETS[-1]), batch=st.integers(1, 16), lasts_ms=st.integers(0, 2000))
    def probe_is_asked_for(self, gpu_percent: int, batch: int, lasts_ms: int) -> None:
        self.dispatcher.probe("p", gpu_percent, batch, lasts_ms * NS_PER_MS, self.now_ns)
        if "p" in self.workers:
            self.workers["p"].asks = True
        self.tick()

    @rule(data=st.data())
    def batch_ends(self, data: st.DataObject) -> None:
        if self.in_flight:
            self.end(data.draw(st.sampled_from(sorted(self.begun))))
            self.tick()

    @rule(name=st.sampled_from(NAMES), grant_id=st.integers(0, 10**6))
    def stranger_reports(self, name: str, grant_id: int) -> None:
        granted = self.in_flight.get(grant_id)
        if granted is None or granted.partition != name or grant_id not in self.begun:
            assert self.dispatcher.done(name, grant_id, 0, self.now_ns, self.now_ns) is None

    @invariant()
    def gpu_percent_adds_up(self) -> None:
        if hasattr(self, "dispatcher"):
            held = sum(granted.grant.gpu_percent for granted in self.begun.values())
            assert held <= 100
            assert self.dispatcher.free_percent == 100 - held
            assert {running.grant.grant_id for running in self.dispatcher.running} == set(self.in_flight)

    @invariant()
    def queues_agree(self) -> None:
        for name, worker in getattr(self, "workers", {}).items():
            assert self.dispatcher.queued(name) == len(worker.queue)

    @invariant()
    def what_waits_has_an_end(self) -> None:
        if not hasattr(self, "dispatcher"):
            return
        wake_ns = self.dispatcher.next_wake_ns(self.now_ns)
        assert wake_ns is None or wake_ns > self.now_ns
        if any(worker.queue and name in self.schedule for name, worker in self.workers.items()):
            assert self.in_flight or wake_ns is not None

    def teardown(self) -> None:
        """Workers that answer get every item granted, within bounds."""
        if not hasattr(self, "dispatcher"):
            return
        for _ in range(20_000):
            self.tick()
            if self.in_flight:
                self.now_ns += NS_PER_MS
                self.end(min(self.in_flight))
            elif (wake_ns := self.dispatcher.next_wake_ns(self.now_ns)) is not None:
                self.now_ns = wake_ns
            else:
                break
        servable = [name for name in self.workers if name in self.schedule]
        assert not any(self.workers[name].queue for name in servable)

    @property
    def begun(self) -> dict[int, Granted]:
        """The grants in flight that follow no other one in flight."""
        return {
            grant_id: granted
            for grant_id, granted in self.in_flight.items()
            if granted.grant.follows not in self.in_flight
        }

    def tick(self) -> None:
        for refused in self.dispatcher.refuse(self.now_ns):
            assert refused.count > 0
            terms = self.schedule.get(refused.partition)
            assert terms is None or terms.refuses_late
            for _ in range(refused.count):
                self.workers[refused.partition].queue.popleft()
        for granted in self.dispatcher.tick(self.now_ns):
            worker, grant = self.workers[granted.partition], granted.grant
            assert grant.grant_id not in self.in_flight
            self.check_order(granted)
            self.in_flight[grant.grant_id] = granted
            if granted.partition == "p" and worker.asks:
                worker.asks = False
                assert len(self.in_flight) == 1
                worker.grants[grant.grant_id] = []
                continue
            assert len(worker.queue) >= grant.batch > 0
            self.check_lane(granted)
            worker.grants[grant.grant_id] = [worker.queue.popleft() for _ in range(grant.batch)]

    def check_order(self, granted: Granted) -> None:
        """What follows has the lane of its own worker's run, alone, and waits for none that waits itself."""
        follows = granted.grant.follows
        if follows:
            first = self.begun[follows]
            assert first.partition == granted.partition != "p"
            assert first.grant.gpu_percent == granted.grant.gpu_percent
            assert follows not in {other.grant.follows for other in self.in_flight.values()}

    def check_lane(self, granted: Granted) -> None:
        """A lane of a pool runs one batch at a time; with the Temporal policy it has one lane."""
        terms = self.schedule.get(granted.partition)
        if terms and terms.is_pool:
            gpu_percent = granted.grant.gpu_percent
            held = [
                other
                for other in self.begun.values()
                if (other.partition, other.grant.gpu_percent) == (granted.partition, gpu_percent)
            ]
            assert len(held) <= terms.lanes.count(gpu_percent)

    def end(self, grant_id: int) -> None:
        granted = self.in_flight.pop(grant_id)
        ran = self.dispatcher.done(granted.partition, grant_id, self.now_ns, self.now_ns, self.now_ns)
        assert ran is not None
        followed_by = {
            each.grant.grant_id for each in self.in_flight.values() if each.grant.follows == grant_id
        }
        assert followed_by == ({ran.followed_by.grant_id} if ran.followed_by else set())
        items = self.workers[granted.partition].grants.pop(grant_id)
        assert self.answered.isdisjoint(items)
        self.answered.update(items)

    def drop(self, name: str) -> set[int]:
        worker = self.workers.pop(name, Worker())
        for grant_id in worker.grants:
            del self.in_flight[grant_id]
        return set(worker.grants)


DispatcherMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestDispatcher = DispatcherMachine.TestCase
