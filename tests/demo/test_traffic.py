import numpy as np
import pytest

from e2e.demo.traffic import NAMES, oracle_gpus, traffic_named


def test_the_step_is_up_for_a_minute_and_the_others_have_their_jumps() -> None:
    assert traffic_named("step").changes_s == pytest.approx((25, 85))
    assert len(traffic_named("spike").changes_s) == 2
    assert traffic_named("ramp").changes_s == traffic_named("bursty").changes_s == ()


def test_a_step_of_a_given_length_is_the_simulated_one() -> None:
    assert traffic_named("step", 600.0).changes_s == pytest.approx((200, 400))


@pytest.mark.parametrize("name", NAMES)
def test_requests_come_in_order_at_the_peak_rate_at_most(name: str) -> None:
    traffic = traffic_named(name)
    times_s = traffic.times_s(0, "vgg19", 10.0)
    assert np.all(np.diff(times_s) >= 0)
    assert 0 <= times_s[0] <= times_s[-1] <= traffic.duration_s
    assert 0.2 * 10 * traffic.duration_s < len(times_s) < 1.2 * 10 * traffic.duration_s


def test_an_oracle_reserves_more_for_more() -> None:
    once = np.arange(0.0, 20.0, 0.2)
    one, two = (
        oracle_gpus({"vgg19": 400.0}, {"vgg19": times_s}, 20.0, items=16)
        for times_s in (once, np.repeat(once, 2))
    )
    assert 0 < one < two
