from kneescale.sim.baselines.ideal import ideal
from kneescale.sim.spans import spans_of
from tests.sim.serving import MS, flat, serve_system, surface, tenant

#: An item costs 10 ms of the whole GPU, and takes at least 10 ms.
SERIAL = flat(10, 1)


def ends_ms(*slos_ms: float, arrivals_ms: list[list[float]]) -> dict[str, list[float]]:
    tenants = [tenant(str(number), slo_ms=slo_ms, of=SERIAL) for number, slo_ms in enumerate(slos_ms)]
    record = serve_system(ideal, tenants, *arrivals_ms)
    return {
        one.name: [run.end_ns / MS for run in record.runs if run.model == number]
        for number, one in enumerate(tenants)
    }


def test_one_request_after_the_other() -> None:
    assert ends_ms(50, arrivals_ms=[[0, 1, 40]]) == {"0": [10, 20, 50]}


def test_what_ran_can_be_drawn() -> None:
    record = serve_system(ideal, [tenant(of=SERIAL)], [0, 5])
    assert [(span.gpu_percent, span.start_ns, span.end_ns) for span in spans_of(record)] == [
        (100, 0, 10 * MS),
        (100, 10 * MS, 20 * MS),
    ]


def test_an_earlier_deadline_takes_the_gpu_away() -> None:
    assert ends_ms(90, 20, arrivals_ms=[[0], [5]]) == {"0": [20], "1": [15]}


def test_what_cannot_be_in_time_costs_nothing() -> None:
    assert ends_ms(25, arrivals_ms=[[0, 0, 0, 20]]) == {"0": [10, 20, 30]}


def test_batches_are_as_cheap_as_the_cheapest_but_no_faster_than_the_fastest() -> None:
    # 8 items for 100 + 40 * 8 GPU% x ms: less than 1 ms of the whole GPU each. The fastest takes 2 ms.
    record = serve_system(ideal, [tenant()], [0])
    (run,) = record.runs
    assert run.end_ns == 2 * MS
    assert run.end_ns - run.started_ns == round(record.tenants[0].area_per_item / 100)


def test_hopeless_models_are_refused() -> None:
    record = serve_system(ideal, [tenant(slo_ms=1, of=surface(host_ms=2))], [0, 3])
    assert record.dropped == [2]
