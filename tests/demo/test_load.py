"""What is counted of what became of requests."""

from hypothesis import given
from hypothesis import strategies as st

from e2e.demo.figures import Outcome, summarise

outcomes = st.builds(
    Outcome, latency_ms=st.none() | st.floats(min_value=0, max_value=1e4), correct=st.booleans()
)


def test_only_right_answers_in_time_attain_the_slo() -> None:
    seen = [
        Outcome(0, 10.0, correct=True),
        Outcome(0, 50.0, correct=True),
        Outcome(0, 50.1, correct=True),
        Outcome(0, 10.0, correct=False),
        Outcome(0, None, correct=False, error="refused"),
    ]
    figures = summarise(seen, slo_ms=50)
    assert (figures.sent, figures.answered, figures.correct, figures.within_slo) == (5, 4, 3, 2)
    assert figures.attainment == 0.4


def test_percentiles_are_of_answers_and_never_rounded_to_a_better_one() -> None:
    figures = summarise([Outcome(0, float(i), correct=True) for i in range(1, 151)], slo_ms=200)
    assert (figures.p50_ms, figures.p99_ms) == (75.0, 149.0)


def test_nothing_answered_has_no_percentiles() -> None:
    figures = summarise([Outcome(0, None, correct=False)], slo_ms=50)
    assert (figures.p50_ms, figures.p99_ms, figures.attainment) == (None, None, 0.0)


@given(st.lists(outcomes), st.floats(min_value=0, max_value=1e4))
def test_counts_never_grow_from_sent_to_within_slo(seen: list[Outcome], slo_ms: float) -> None:
    figures = summarise(seen, slo_ms)
    assert figures.within_slo <= figures.correct <= figures.sent == len(seen)
    assert figures.answered <= figures.sent
    assert 0 <= figures.attainment <= 1
