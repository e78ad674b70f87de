from hypothesis import given
from hypothesis import strategies as st

from kneescale.sim.queues import Queues
from tests.sim.serving import MS, tenant


def test_requests_leave_in_the_order_in_which_they_came() -> None:
    queues = Queues((tenant(slo_ms=1),), [[5, 7, 9]])
    assert [queues.push(0) for _ in range(3)] == [5, 7, 9]
    assert (queues.length(0), queues.oldest_ns(0), queues.deadline_ns(0)) == (3, 5, 5 + MS)
    assert queues.pop(0, 2) == 0
    assert (queues.length(0), queues.oldest_ns(0)) == (1, 9)
    assert queues.pop(0, 1) == 2
    assert queues.length(0) == 0


def test_the_models_have_queues_of_their_own() -> None:
    queues = Queues((tenant("a"), tenant("b")), [[1], [2]])
    queues.push(1)
    assert len(queues) == 2
    assert [queues.length(model) for model in range(2)] == [0, 1]


@given(st.lists(st.integers(0, 50)).map(sorted), st.data())
def test_it_is_a_list_of_what_has_come_and_not_left(times: list[int], data: st.DataObject) -> None:
    queues, waiting, numbers = Queues((tenant(),), [times]), list[int](), 0
    for time in times:
        waiting.append(queues.push(0))
        assert waiting[-1] == time
        count = data.draw(st.integers(0, len(waiting)))
        assert queues.pop(0, count) == numbers
        waiting, numbers = waiting[count:], numbers + count
        assert queues.length(0) == len(waiting)
        moment = data.draw(st.integers(0, 51))
        assert queues.count_before(0, moment) == sum(arrived < moment for arrived in waiting)
