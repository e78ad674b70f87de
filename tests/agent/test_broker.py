"""Whatever workers say, in any order: never over 100 GPU%, and nonsense costs only its own connection."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harness.spans import peak_percent
from kneescale.agent.assignment import Assignment, assign
from kneescale.agent.broker import GrantBroker
from kneescale.agent.claims import PreparedClaim, parse_allocated_claim
from kneescale.agent.trace import Trace
from kneescale.api.gpu_schedule import GPUScheduleSpec, Policy, parse_gpu_schedule
from kneescale.core.dispatching.dispatcher import Refused
from kneescale.core.dispatching.punctuality import hung_after_ns
from kneescale.core.errors import ProtocolError
from kneescale.core.units import NS_PER_MS, NS_PER_S, WHOLE_GPU_PERCENT
from kneescale.core.wire import Arrived, Done, Grant, Hello, Measured, Message, Probe, Refuse, Role, Terms
from tests.agent.builders import LANES, NODE, allocated_claim, assignment_of, partition, schedule

NAMES = ("a", "b", "p")
HELLO = Hello(Role.SERVE, born_ns=0)


def _spec() -> GPUScheduleSpec:
    profiling = partition("p", role="Profile", surface=[])
    return parse_gpu_schedule(schedule([partition("a"), partition("b", weight=3), profiling])).spec


def _assignment() -> Assignment:
    return assign(_spec(), _claims())


def _claims() -> list[PreparedClaim]:
    return [parse_allocated_claim(allocated_claim(name), NODE) for name in NAMES]


def _broker() -> GrantBroker:
    broker = GrantBroker(Trace())
    broker.assign(_assignment(), 0)
    return broker


def test_claims_meet_their_partitions_by_name_and_namespace() -> None:
    first, *others = _claims()
    foreign = replace(first, namespace="elsewhere")
    elsewhere = replace(others[0], device="gpu1")
    assigned = assign(_spec(), [foreign, elsewhere, others[1]])
    assert [p.claim_uid for p in assigned.partitions] == ["", "", others[1].uid]


def test_a_pool_of_the_schedule_is_one_for_the_dispatcher() -> None:
    spec = parse_gpu_schedule(schedule([partition("a", pool=True, lanes=[10, 10], gpuPercent=10)])).spec
    (assigned,) = assign(spec, _claims()).partitions
    assert (assigned.terms.is_pool, assigned.terms.lanes) == (True, (10, 10))


def test_hello_is_answered_with_terms() -> None:
    broker = _broker()
    assert broker.handle("a", HELLO, 1) == _assignment().partitions[0].worker_terms
    assert [(view.connected, view.seen) for view in broker.views(1)] == [
        (True, True),
        (False, False),
        (False, False),
    ]


@pytest.mark.parametrize(
    "messages",
    [
        [Arrived(1, 0)],
        [Hello(Role.PROFILE, 0)],
        [HELLO, HELLO],
        [HELLO, Arrived(0, 0)],
        [HELLO, Arrived(1, NS_PER_S + 1)],
        [HELLO, *[Arrived(65_535, 0)] * 2],
        [HELLO, Done(7, 0, 0)],
        [HELLO, Done(1, 5, 4)],
        [HELLO, Probe(10, 1, 1000)],
        [HELLO, Grant(1, 10, 1, 0)],
        [HELLO, Refuse(1)],
        [HELLO, Terms(1, 1, 1, 1)],
    ],
)
def test_nonsense_is_a_protocol_error(messages: list[Message]) -> None:
    broker = _broker()
    *before, last = messages
    for message in before:
        broker.handle("a", message, NS_PER_S)
    with pytest.raises(ProtocolError):
        broker.handle("a", last, NS_PER_S)


def test_a_worker_cannot_end_anothers_grant() -> None:
    broker = _broker()
    for name in ("a", "b"):
        broker.handle(name, HELLO, 1)
    broker.handle("a", Arrived(8, 1), 1)
    (granted,) = broker.tick(100 * NS_PER_MS)
    with pytest.raises(ProtocolError):
        broker.handle("b", Done(granted.grant.grant_id, 1, 2), NS_PER_S)


def test_a_grant_is_given_out_before_the_next_is_decided() -> None:
    trace = Trace()
    broker = GrantBroker(trace)
    narrow = [partition(name, lanes=[20], gpuPercent=20) for name in ("a", "b")]
    broker.assign(assign(parse_gpu_schedule(schedule(narrow)).spec, _claims()), 0)
    for name in ("a", "b"):
        broker.handle(name, HELLO, 1)
        broker.handle(name, Arrived(1, 1), 1)
    grants = broker.tick(2)
    next(grants)
    assert trace.running_percent == 20
    assert len(list(grants)) == 1


def test_new_terms_go_to_connected_workers_whose_terms_changed() -> None:
    broker = _broker()
    broker.handle("a", HELLO, 1)
    assert broker.assign(_assignment(), 2) == {}
    spec = parse_gpu_schedule(schedule([partition(name, sloMilliseconds=80) for name in "ab"])).spec
    changed = assign(spec, _claims())
    assert broker.assign(changed, 3) == {"a": changed.partitions[0].worker_terms}


def test_a_partition_that_left_the_schedule_is_served_until_its_worker_leaves() -> None:
    broker = _broker()
    broker.handle("a", HELLO, 1)
    broker.assign(Assignment(), 2)
    broker.handle("a", Arrived(8, 3), 3)
    (granted,) = broker.tick(100 * NS_PER_MS)
    assert granted.partition == "a"
    broker.left("a", NS_PER_S)
    with pytest.raises(ProtocolError, match="left the schedule"):
        broker.handle("a", HELLO, NS_PER_S)


def test_a_partition_that_comes_back_finds_its_worker_as_if_it_had_never_been_away() -> None:
    broker = _broker()
    broker.handle("a", HELLO, 0)
    broker.assign(Assignment(), 2)
    broker.handle("a", Arrived(10, NS_PER_S), NS_PER_S)
    changed = assignment_of("a", sloMilliseconds=80)
    assert broker.assign(changed, 2 * NS_PER_S) == {"a": changed.partitions[0].worker_terms}
    assert broker.assign(changed, 3 * NS_PER_S) == {}
    (view,) = broker.views(6 * NS_PER_S)
    assert (view.connected, view.seen) == (True, True)
    assert sum(view.arrivals) == 10


def test_what_cannot_be_in_time_is_refused_counted_and_off_the_queue() -> None:
    trace = Trace()
    broker = GrantBroker(trace)
    broker.assign(_assignment(), 0)
    broker.handle("a", HELLO, 1)
    broker.handle("a", Arrived(3, 1), 1)
    broker.handle("a", Arrived(2, 80 * NS_PER_MS), 100 * NS_PER_MS)
    assert broker.refuse(100 * NS_PER_MS) == [Refused("a", 3)]
    assert broker.views(100 * NS_PER_MS)[0].queued_items == 2
    totals = trace.totals()["a"]
    assert (totals.tenant.model, totals.refused_items, totals.items) == ("lite0", 3, 0)


def test_what_a_worker_tells_late_is_not_refused_at_once() -> None:
    broker = _broker()
    broker.handle("a", HELLO, 1)
    broker.handle("a", Arrived(3, 1), NS_PER_S)
    assert broker.refuse(NS_PER_S) == []
    assert [granted.grant.batch for granted in broker.tick(NS_PER_S)] == [3]


def test_a_partition_that_serves_late_requests_refuses_none() -> None:
    broker = _broker()
    spec = parse_gpu_schedule(schedule([partition("a", lateRequests="Serve")])).spec
    broker.assign(assign(spec, _claims()), 1)
    broker.handle("a", HELLO, 1)
    broker.handle("a", Arrived(3, 1), NS_PER_S)
    assert broker.refuse(NS_PER_S) == []
    assert [granted.grant.batch for granted in broker.tick(NS_PER_S)] == [3]


def test_a_new_policy_asks_all_workers_to_connect_anew() -> None:
    broker = _broker()
    broker.handle("a", HELLO, 1)
    broker.handle("a", Arrived(8, 1), 1)
    assert list(broker.tick(100 * NS_PER_MS))
    temporal = replace(_assignment(), policy=Policy.TEMPORAL)
    assert broker.assign(temporal, NS_PER_S) == {"a": None}
    assert broker.handle("a", HELLO, NS_PER_S) is not None


def test_a_worker_that_hangs_is_granted_nothing_until_it_is_a_new_one() -> None:
    broker = _broker()
    broker.handle("a", HELLO, 1)
    broker.handle("a", Arrived(8, 1), 1)
    (granted,) = broker.tick(100 * NS_PER_MS)
    assert broker.fence(granted.grant.finish_by_ns) == set()
    late_ns = hung_after_ns(100 * NS_PER_MS, granted.grant.finish_by_ns) + 1
    assert broker.fence(late_ns) == {"a"}
    broker.left("a", late_ns)
    with pytest.raises(ProtocolError, match="a batch of it hangs"):
        broker.handle("a", HELLO, late_ns)
    assert broker.views(late_ns)[0].hung
    assert broker.handle("a", replace(HELLO, born_ns=late_ns), late_ns) is not None
    assert not broker.views(late_ns)[0].hung


def test_overruns_and_latencies_are_shown() -> None:
    broker = _broker()
    broker.handle("a", HELLO, 0)
    for now_ns in range(NS_PER_S, 31 * NS_PER_S, NS_PER_S):
        broker.handle("a", Arrived(8, now_ns), now_ns)
        (granted,) = broker.tick(now_ns)
        ended_ns = now_ns + 2 * (granted.grant.finish_by_ns - now_ns)
        broker.handle("a", Done(granted.grant.grant_id, now_ns, ended_ns), ended_ns)
    timing = broker.views(31 * NS_PER_S)[0].timing
    assert (timing.overruns, timing.is_unpunctual) == (30, True)
    assert timing.latency_ratio == pytest.approx(2, rel=0.1)


def test_what_a_worker_measured_is_shown_while_it_is_connected() -> None:
    broker = _broker()
    measured = Measured(30_000, 10, 10, 10, 0, 1_000, 2_000)
    broker.handle("a", HELLO, 1)
    broker.handle("a", measured, 2)
    assert broker.views(3)[0].measured == measured
    broker.left("a", 3)
    assert broker.views(3)[0].measured is None


class Workers(RuleBasedStateMachine):
    """Workers join, leave, queue, probe and finish as they like, while schedules change."""

    @initialize()
    def start(self) -> None:
        self.trace = Trace()
        self.broker = GrantBroker(self.trace)
        self.now_ns = NS_PER_S
        #: By grant: its partition, its GPU%, and which one it follows.
        self.running: dict[int, tuple[str, int, int]] = {}
        self.joined: set[str] = set()
        self._assign(_assignment())

    def _assign(self, assignment: Assignment) -> None:
        for name, terms in self.broker.assign(assignment, self.now_ns).items():
            if terms is None:
                self._forget(name)
        self.assigned = {p.name for p in assignment.partitions}

    def _forget(self, name: str) -> None:
        self.joined.discard(name)
        self.running = {key: run for key, run in self.running.items() if run[0] != name}

    @rule(kept=st.sets(st.sampled_from(NAMES)), policy=st.sampled_from(Policy))
    def schedule_changes(self, kept: set[str], policy: Policy) -> None:
        full = _assignment()
        self._assign(Assignment(policy, tuple(p for p in full.partitions if p.name in kept)))

    @rule(name=st.sampled_from(NAMES))
    def joins(self, name: str) -> None:
        if name in self.assigned - self.joined:
            role = Role.PROFILE if name == "p" else Role.SERVE
            assert self.broker.handle(name, Hello(role, 0), self.now_ns) is not None
            self.joined.add(name)

    @rule(name=st.sampled_from(NAMES))
    def leaves(self, name: str) -> None:
        self.broker.left(name, self.now_ns)
        self._forget(name)

    @precondition(lambda self: self.joined - {"p"})
    @rule(data=st.data(), count=st.integers(1, 40))
    def items_arrive(self, data: st.DataObject, count: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.joined - {"p"})))
        self.broker.handle(name, Arrived(count, self.now_ns), self.now_ns)

    @precondition(lambda self: "p" in self.joined)
    @rule(gpu_percent=st.sampled_from(LANES))
    def profiler_probes(self, gpu_percent: int) -> None:
        self.broker.handle("p", Probe(gpu_percent, 4, 1000), self.now_ns)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def batch_ends(self, data: st.DataObject) -> None:
        grant_id = data.draw(st.sampled_from(sorted(self._begun())))
        name, _, _ = self.running.pop(grant_id)
        self.broker.handle(name, Done(grant_id, self.now_ns, self.now_ns), self.now_ns)

    @rule(passed_ms=st.integers(0, 120))
    def time_passes(self, passed_ms: int) -> None:
        self.now_ns += passed_ms * NS_PER_MS
        for refused in self.broker.refuse(self.now_ns):
            assert refused.partition in self.joined
        for granted in self.broker.tick(self.now_ns):
            assert granted.partition in self.joined
            grant = granted.grant
            self.running[grant.grant_id] = (granted.partition, grant.gpu_percent, grant.follows)

    def _begun(self) -> dict[int, int]:
        """The GPU% of the grants that follow none in flight."""
        return {
            grant_id: gpu_percent
            for grant_id, (_, gpu_percent, follows) in self.running.items()
            if follows not in self.running
        }

    @invariant()
    def never_over_a_whole_gpu(self) -> None:
        total = sum(self._begun().values())
        assert total == self.trace.running_percent <= WHOLE_GPU_PERCENT
        assert self.trace.overcommitted == 0


Workers.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestWorkers = Workers.TestCase


@given(st.lists(st.tuples(st.sampled_from(("a", "b")), st.integers(1, 30), st.integers(0, 30)), max_size=40))
def test_the_merged_trace_never_passes_100(arrivals: list[tuple[str, int, int]]) -> None:
    """Checked from the records alone, as a reader of /trace would."""
    trace = Trace()
    broker = GrantBroker(trace)
    broker.assign(_assignment(), 0)
    for name in ("a", "b"):
        broker.handle(name, HELLO, 1)
    now_ns, running = 1, list[tuple[int, str, int]]()
    for name, count, gap_ms in arrivals:
        broker.handle(name, Arrived(count, now_ns), now_ns)
        now_ns += gap_ms * NS_PER_MS
        # One that follows another is planned to end after it, and so is told after it.
        for run in sorted(run for run in running if run[0] <= now_ns):
            _, owner, grant_id = run
            broker.handle(owner, Done(grant_id, now_ns, now_ns), now_ns)
            running.remove(run)
        running += [(g.grant.finish_by_ns, g.partition, g.grant.grant_id) for g in broker.tick(now_ns)]
    spans = ((r.granted_ns, r.ended_ns, r.gpu_percent) for r in trace.since(0))
    assert peak_percent(spans) <= WHOLE_GPU_PERCENT


def test_what_arrives_is_counted_and_goes_on_being_counted_when_the_worker_is_a_new_one() -> None:
    broker = _broker()
    broker.handle("a", HELLO, 0)
    assert broker.views(0)[0].traffic is None
    for now_ns in range(NS_PER_S // 2, 6 * NS_PER_S, NS_PER_S // 2):
        if now_ns == 3 * NS_PER_S:
            broker.left("a", now_ns)
            broker.handle("a", replace(HELLO, born_ns=now_ns), now_ns)
        broker.handle("a", Arrived(4, now_ns), now_ns)
    traffic = broker.views(6 * NS_PER_S)[0].traffic
    assert traffic is not None
    assert traffic.recent_ips == 8.0
    assert traffic.steady_s == 6.0


def test_a_queue_that_is_told_again_is_no_traffic() -> None:
    broker = _broker()
    broker.handle("a", HELLO, 0)
    for now_ns in range(NS_PER_S // 2, 6 * NS_PER_S, NS_PER_S // 2):
        broker.left("a", now_ns)
        broker.handle("a", HELLO, now_ns)
        broker.handle("a", Arrived(1000, now_ns - 1), now_ns)
        broker.handle("a", Arrived(4, now_ns), now_ns)
    traffic = broker.views(6 * NS_PER_S)[0].traffic
    assert traffic is not None
    assert traffic.recent_ips == 8.0
    assert traffic.dispersion == 1.0
    assert broker.views(6 * NS_PER_S)[0].queued_items == 1004
