"""The account of a run: nothing is explained away that a fault did not do."""

import pytest

from e2e.chaos.account import EXPLAINS_FOR_S, Adversity, Struck, attainment_over_time, unexplained
from e2e.demo.figures import Outcome
from e2e.recovery import recovery

MODEL, SLO_MS = "vgg19", 50
FAULT = Struck("worker killed", "vgg19-1", frozenset({MODEL}), began_s=100, ended_s=101, node="node1")
LIMIT_S = 101 + EXPLAINS_FOR_S["worker killed"]
REFUSED = "[StatusCode.UNAVAILABLE] Connection refused"
TOO_LATE = "[StatusCode.RESOURCE_EXHAUSTED] refused: it cannot be answered within the SLO of 50 ms"


def failed(due_s: float, error: str = REFUSED) -> Outcome:
    return Outcome(due_s, None, correct=False, error=error)


def answered(due_s: float, latency_ms: float = 10.0) -> Outcome:
    return Outcome(due_s, latency_ms, correct=True)


@pytest.mark.parametrize(
    ("outcome", "explained"),
    [
        (answered(50), True),
        (failed(50), False),
        (failed(99), True),
        (failed(100.5), True),
        (failed(LIMIT_S), True),
        (failed(LIMIT_S + 1), False),
        (failed(100.5, "[StatusCode.DEADLINE_EXCEEDED] Deadline Exceeded"), True),
        (failed(100.5, "a wrong answer to echo 3"), False),
        (failed(100.5, "[StatusCode.INTERNAL] the batch failed"), False),
    ],
)
def test_a_fault_explains_ends_and_silences_for_a_while_and_nothing_else(
    outcome: Outcome, explained: bool
) -> None:
    assert (unexplained(MODEL, [outcome], SLO_MS, Adversity([FAULT])) == []) is explained


def test_a_fault_explains_nothing_of_models_that_it_does_not_touch() -> None:
    outcome = failed(100.5)
    assert unexplained("resnet50", [outcome], SLO_MS, Adversity([FAULT])) == [outcome]


def test_what_another_model_refuses_is_explained_for_they_share_gpus_and_cores() -> None:
    assert unexplained("resnet50", [failed(100.5, TOO_LATE)], SLO_MS, Adversity([FAULT])) == []
    late = failed(LIMIT_S + 1, TOO_LATE)
    assert unexplained("resnet50", [late], SLO_MS, Adversity([FAULT])) == [late]


def test_a_hung_agent_explains_the_silence_of_the_models_on_its_node_until_it_is_ended() -> None:
    hung = Struck("agent hung", "node1", frozenset({MODEL}), began_s=100, ended_s=100.1, node="node1")
    silent = failed(129, "[StatusCode.DEADLINE_EXCEEDED] Deadline Exceeded")
    assert unexplained(MODEL, [silent], SLO_MS, Adversity([hung])) == []
    assert unexplained("resnet50", [silent], SLO_MS, Adversity([hung])) == [silent]


def test_who_was_connected_to_a_deleted_worker_until_its_end_needs_a_while_to_notice() -> None:
    deleted = Struck("worker deleted", "vgg19-1", frozenset({MODEL}), began_s=100, ended_s=100.2)
    gone = "[StatusCode.UNAVAILABLE] failed to connect to all addresses: Connection timed out"
    assert unexplained(MODEL, [failed(142, gone)], SLO_MS, Adversity([deleted])) == []
    late = failed(146, gone)
    assert unexplained(MODEL, [late], SLO_MS, Adversity([deleted])) == [late]


def test_nothing_comes_back_while_the_control_plane_is_away() -> None:
    away = Struck("control plane away", "for 20 s", frozenset(), began_s=105, ended_s=125)
    last = failed(LIMIT_S + 20)
    assert unexplained(MODEL, [last], SLO_MS, Adversity([FAULT, away])) == []
    assert unexplained(MODEL, [last], SLO_MS, Adversity([FAULT])) == [last]
    later = Struck("control plane away", "for 20 s", frozenset(), began_s=LIMIT_S + 1, ended_s=LIMIT_S + 21)
    assert unexplained(MODEL, [last], SLO_MS, Adversity([FAULT, later])) == [last]


@pytest.mark.parametrize(("node", "explained"), [("node1", True), ("node2", False)])
def test_nothing_comes_back_while_its_nodes_kubelet_starts(node: str, explained: bool) -> None:
    kubelet = Struck("kubelet restarted", node, frozenset(), began_s=105, ended_s=106, node=node)
    last = failed(LIMIT_S + 21)
    assert (unexplained(MODEL, [last], SLO_MS, Adversity([FAULT, kubelet])) == []) is explained


def test_a_faults_time_stands_still_while_no_core_is_free() -> None:
    last = failed(LIMIT_S + 3)
    short_s = [102.0, 103.0, LIMIT_S + 1.5]
    assert unexplained(MODEL, [last], SLO_MS, Adversity([FAULT], short_s)) == []
    assert unexplained(MODEL, [last], SLO_MS, Adversity([FAULT], short_s[:2])) == [last]
    assert unexplained(MODEL, [last], SLO_MS, Adversity([FAULT], [50.0, *short_s[:2]])) == [last]


def away(began_s: float, ended_s: float) -> Struck:
    return Struck("control plane away", "", frozenset(), began_s, ended_s)


@pytest.mark.parametrize(
    ("struck", "short_s", "longer_s"),
    [
        ([away(81, 100.5)], [], 0),
        ([away(81, 103)], [], 2),
        ([away(105, 125)], [float(at_s) for at_s in range(105, 125)], 20),
        ([away(105, 110), away(108, 112)], [], 7),
    ],
    ids=["before it was over", "from before on", "beside each other", "one into the other"],
)
def test_a_faults_time_stands_still_only_once_it_is_over_and_once_at_a_time(
    struck: list[Struck], short_s: list[float], longer_s: float
) -> None:
    adversity = Adversity([FAULT, *struck], short_s)
    last, later = failed(LIMIT_S + longer_s), failed(LIMIT_S + longer_s + 0.1)
    assert unexplained(MODEL, [last, later], SLO_MS, adversity) == [later]


def test_what_is_refused_in_a_moment_without_a_free_core_is_explained_and_nothing_else_is() -> None:
    adversity = Adversity([], [100.0])
    due_before = failed(100 - SLO_MS / 1000, TOO_LATE)
    assert unexplained(MODEL, [due_before, failed(101, TOO_LATE)], SLO_MS, adversity) == []
    others = [failed(101), failed(99, TOO_LATE), failed(106, TOO_LATE)]
    assert unexplained(MODEL, others, SLO_MS, adversity) == others


def test_a_fault_that_must_cost_nobody_anything_explains_nothing() -> None:
    outcome = failed(100.5)
    agent = Struck("agent killed", "node1", frozenset(), began_s=100, ended_s=101)
    assert unexplained(MODEL, [outcome], SLO_MS, Adversity([agent])) == [outcome]


def test_a_fault_explains_no_more_once_attainment_was_back() -> None:
    down = [failed(100.5), failed(104)]
    back = [answered(105 + i / 200) for i in range(1200)]
    again = failed(110.5)
    assert unexplained(MODEL, [*down, *back, again], SLO_MS, Adversity([FAULT])) == [again]


def test_the_last_few_that_fail_are_explained_though_they_are_fewer_than_one_in_a_hundred() -> None:
    down = [failed(100.5), failed(104)]
    nearly_back = [answered(105 + i / 200) for i in range(1000)]
    last = failed(107)
    assert unexplained(MODEL, [*down, *nearly_back, last], SLO_MS, Adversity([FAULT])) == []


def test_a_fault_explains_what_fails_between_two_good_moments_until_attainment_stays_full() -> None:
    for_now = [answered(105 + i / 10) for i in range(50)]
    assert unexplained(MODEL, [failed(104), *for_now, failed(110.5)], SLO_MS, Adversity([FAULT])) == []


def test_attainment_is_counted_by_five_seconds() -> None:
    outcomes = [answered(100), failed(104), answered(106), answered(107, latency_ms=99), answered(116)]
    assert attainment_over_time(outcomes, 50, 100) == [(0, 0.5), (5, 0.5), (15, 1.0)]


def test_a_recovery_counts_from_the_fault_to_the_last_time_that_too_many_missed() -> None:
    down = [failed(100 + i / 100) for i in range(200)]
    late = [answered(102 + i / 100, latency_ms=300) for i in range(100)]
    well = [answered(103 + i / 100) for i in range(1000)]
    seen = recovery([answered(97), *down, *late, *well], 200, fault_s=100)
    assert (seen.sent, seen.failed, seen.late) == (1300, 200, 100)
    assert seen.errors == {REFUSED: 200}
    # 1000 in time and 10 late ones before them make 99 %.
    assert seen.back_s == pytest.approx(2.9)


def test_what_was_under_way_when_the_fault_came_counts_and_has_no_part_in_when_it_is_back() -> None:
    under_way = [failed(99.95), answered(99.9, latency_ms=900)]
    seen = recovery([*under_way, *(answered(100 + i / 20) for i in range(40))], 200, fault_s=100)
    assert (seen.failed, seen.late, seen.back_s) == (1, 1, 0.0)


def test_what_never_comes_back_has_no_time() -> None:
    assert recovery([failed(100 + i) for i in range(10)], 200, fault_s=100).back_s is None
