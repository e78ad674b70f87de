from kneescale.core.backoff import Backoff


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(first_s=0.5, longest_s=10.0)
    assert [backoff.wait_s(failures) for failures in range(1, 8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_what_fails_for_ever_is_tried_for_ever() -> None:
    assert Backoff(first_s=0.05, longest_s=1.0).wait_s(10**9) == 1.0
