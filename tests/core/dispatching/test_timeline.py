from kneescale.core.dispatching.device import DeviceState, Running
from kneescale.core.dispatching.run_costs import Option
from kneescale.core.dispatching.timeline import Place, Room, Timeline
from kneescale.core.wire import Grant

SLO_NS = 100


def busy(*runs: tuple[int, int]) -> Timeline:
    """The timeline at 0 of a device with runs of (GPU%, end)."""
    device = DeviceState()
    for number, (gpu_percent, end_ns) in enumerate(runs):
        device.start(
            Running(
                "a",
                Grant(number, gpu_percent, 1, end_ns),
                0,
                is_probe=False,
                hung_after_ns=end_ns,
                arrivals=[],
            )
        )
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


def test_where_only_a_few_starts_are_looked_at_a_later_one_is_not_found() -> None:
    timeline = busy(*((20, end_ns) for end_ns in range(10, 60, 10)))
    assert timeline.best_place([option(80, 10)], 90, SLO_NS, most_starts=3) is None
    assert timeline.best_place([option(80, 10)], 90, SLO_NS) == Place(40, option(80, 10))


def test_a_run_leaves_each_room_on_its_own_and_not_all_at_once() -> None:
    rooms = [Room(20, 30, 60), Room(20, 30, 50)]
    assert busy().best_place([option(40, 40)], 90, SLO_NS, rooms=rooms) == Place(0, option(40, 40))
    assert busy().best_place([option(50, 40)], 90, SLO_NS, rooms=rooms) is None
    assert busy().best_place([option(50, 20)], 90, SLO_NS, rooms=rooms) == Place(0, option(50, 20))


def test_of_a_room_that_is_taken_already_nothing_more_is_taken() -> None:
    room = Room(20, 30, 60)
    assert busy((70, 50)).best_place([option(20, 40)], 45, SLO_NS, rooms=[room]) is None
    assert busy((70, 50)).best_place([option(20, 20)], 45, SLO_NS, rooms=[room]) == Place(0, option(20, 20))
