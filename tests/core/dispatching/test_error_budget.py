from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.dispatching.error_budget import ALLOWED, MOST_AHEAD, MOST_SAVED, STEP, ErrorBudget

#: Items that are refused (True) or run.
OUTCOMES = st.lists(st.tuples(st.booleans(), st.integers(1, 50)))


def of(refused_in_a_thousand: int) -> ErrorBudget:
    """After ten thousand items, so many of each thousand refused."""
    budget = ErrorBudget()
    for _ in range(10):
        budget.missed(refused_in_a_thousand)
        budget.granted(1000 - refused_in_a_thousand)
    return budget


def test_who_refuses_no_more_than_it_may_goes_before_nobody() -> None:
    assert of(int(1000 * ALLOWED) - 1).ahead == 0


def test_who_refuses_more_goes_ahead() -> None:
    assert of(int(1000 * ALLOWED) + 2).ahead > 0


def test_what_was_not_missed_may_be_later_and_no_more_than_so_much() -> None:
    budget = ErrorBudget()
    for _ in range(10):
        budget.granted(1000)
    assert budget.left == MOST_SAVED
    budget.missed(int(MOST_SAVED))
    assert budget.ahead == 0
    budget.missed(1)
    assert budget.ahead == STEP


@given(OUTCOMES)
def test_nobody_goes_further_ahead_than_the_limit(outcomes: list[tuple[bool, int]]) -> None:
    budget = ErrorBudget()
    for is_refused, items in outcomes:
        (budget.missed if is_refused else budget.granted)(items)
        assert 0 <= budget.ahead <= MOST_AHEAD
