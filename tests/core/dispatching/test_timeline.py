from kneescale.core.dispatching.device import DeviceState, Running
from kneescale.core.dispatching.run_costs import Option
from kneescale.core.dispatching.timeline import Place, Timeline
from kneescale.core.wire import Grant

SLO_NS = 100


def busy(*runs: tuple[int, int]) -> Timeline:
    """The timeline at 0 of a device with runs of (GPU%, end)."""
    device = DeviceState()
    for number, (gpu_percent, end_ns) in enumerate(runs):
        device.start(Running("a", Grant(number, gpu_percent, 1, end_ns), 0, is_probe=False))
    return Timeline(device, 0)


def option(gpu_percent: int, latency_ns: int) -> Option:
    return Option(float(gpu_percent * latency_ns), gpu_percent, 1, latency_ns)


def test_a_run_that_fits_starts_now() -> None:
    assert busy((60, 10)).best_place([option(40, 50)], 90, SLO_NS) == Place(0, option(40, 50))


def test_a_cheaper_run_is_worth_a_short_wait_and_not_a_long_one() -> None:
    options = [option(80, 10), option(40, 30)]
    assert busy((60, 5)).best_place(options, 90, SLO_NS) == Place(5, option(80, 10))
    assert busy((60, 40)).best_place(options, 90, SLO_NS) == Place(0, option(40, 30))


def test_a_place_that_is_kept_is_left_by_others() -> None:
    timeline = busy((60, 10))
    timeline.reserve(10, 20, 80)
    assert timeline.best_place([option(40, 30)], 90, SLO_NS) == Place(30, option(40, 30))
    assert timeline.best_place([option(20, 60)], 90, SLO_NS) == Place(0, option(20, 60))


def test_no_place_where_no_run_is_in_time() -> None:
    assert busy((60, 50)).best_place([option(80, 50)], 90, SLO_NS) is None
