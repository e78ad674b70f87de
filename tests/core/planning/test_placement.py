from dataclasses import replace

import pytest

from kneescale.core.planning.configuration import Configuration
from kneescale.core.planning.placement import Demand, Device, Placed, Unplaced, pack, place

GIB = 1 << 30


def device(
    name: str, *, node: str = "", product: str = "V100", memory_gib: int = 16, clients: int = 48
) -> Device:
    return Device(name, node or f"node-of-{name}", name, product, memory_gib * GIB, clients)


def demand(
    model: str,
    area_permille: int,
    *,
    memory_gib: int = 1,
    replicas: tuple[int, int] = (1, 1),
    product: str = "V100",
) -> Demand:
    configuration = Configuration(40, 8, 31.0, 1.0, area_permille)
    return Demand(model, {product: configuration}, memory_gib * GIB, *replicas)


def devices_of(outcome: Placed | Unplaced) -> tuple[str, ...]:
    assert isinstance(outcome, Placed)
    assert outcome.shortfall is None
    return outcome.devices


def reason_of(outcome: Placed | Unplaced) -> str:
    assert isinstance(outcome, Unplaced)
    return outcome.reason


def test_models_spread_over_free_devices() -> None:
    placed = place([demand("a", 300), demand("b", 200), demand("c", 100)], [device("g0"), device("g1")], {})
    assert {model: devices_of(outcome) for model, outcome in placed.items()} == {
        "a": ("g0",),
        "b": ("g1",),
        "c": ("g1",),
    }


def test_what_runs_stays_where_it_is() -> None:
    placed = place(
        [demand("a", 300), demand("b", 200)], [device("g0"), device("g1")], {"a": ["g1"], "b": ["g1"]}
    )
    assert devices_of(placed["a"]) == devices_of(placed["b"]) == ("g1",)


def test_a_new_larger_model_displaces_nothing() -> None:
    placed = place([demand("small", 500), demand("large", 600)], [device("g0")], {"small": ["g0"]})
    assert devices_of(placed["small"]) == ("g0",)
    assert "the freest GPU has 35 % of its area left" in reason_of(placed["large"])


def test_when_models_outgrow_a_device_the_smaller_moves() -> None:
    current = {"a": ["g0"], "b": ["g0"]}
    placed = place([demand("a", 600), demand("b", 400)], [device("g0"), device("g1")], current)
    assert (devices_of(placed["a"]), devices_of(placed["b"])) == (("g0",), ("g1",))


def test_a_device_that_is_gone_is_left() -> None:
    placed = place([demand("a", 300)], [device("g1")], {"a": ["g0"]})
    assert devices_of(placed["a"]) == ("g1",)


def test_replicas_go_to_devices_and_nodes_of_their_own() -> None:
    gpus = [device("g0", node="n1"), device("g1", node="n1"), device("g2", node="n2")]
    placed = place([demand("a", 300, replicas=(2, 2))], gpus, {})
    assert devices_of(placed["a"]) == ("g0", "g2")


def test_a_rate_too_high_for_one_device_gets_more_replicas() -> None:
    gpus = [device("g0"), device("g1"), device("g2")]
    assert len(devices_of(place([demand("a", 1600, replicas=(1, 4))], gpus, {})["a"])) == 2
    assert len(devices_of(place([demand("a", 800, replicas=(1, 4))], gpus, {})["a"])) == 1


def test_fewer_replicas_than_wanted_are_better_than_none() -> None:
    placed = place([demand("a", 300, replicas=(3, 3))], [device("g0"), device("g1")], {})["a"]
    assert isinstance(placed, Placed)
    assert placed.devices == ("g0", "g1")
    assert placed.shortfall == "needs 3 GPUs, one for each replica; the cluster has 2 it can use"


def test_each_replica_carries_its_part_of_the_whole_rate() -> None:
    placed = place([demand("a", 1600, replicas=(1, 2))], [device("g0")], {})
    assert isinstance(placed["a"], Unplaced)


def test_the_product_decides_the_configuration() -> None:
    fast, slow = Configuration(20, 8, 10.0, 1.0, 100), Configuration(100, 8, 40.0, 1.0, 900)
    two_products = Demand("a", {"A100": fast, "T4": slow}, GIB, 1, 1)
    gpus = [device("t", product="T4"), device("a", product="A100")]
    assert devices_of(place([two_products], gpus, {})["a"]) == ("a",)


@pytest.mark.parametrize(
    ("wish", "gpus", "reason"),
    [
        pytest.param(demand("a", 1), [], "the cluster has no GPU", id="no GPU"),
        pytest.param(
            demand("a", 1, product="A100"),
            [device("g0"), device("g1", product="T4")],
            "no GPU of product A100; the cluster has T4, V100",
            id="product",
        ),
        pytest.param(
            demand("a", 1, memory_gib=20),
            [device("g0")],
            "needs 20.0 GiB of GPU memory; the freest GPU has 16.0 GiB left",
            id="memory",
        ),
        pytest.param(
            demand("a", 1),
            [device("g0", clients=0)],
            "every GPU holds as many models as it has clients (0)",
            id="clients",
        ),
        pytest.param(
            demand("a", 900),
            [device("g0")],
            "needs 40 GPU% for 31 ms of every 13.8 ms; the freest GPU has 85 % of its area left",
            id="area",
        ),
    ],
)
def test_what_has_no_place_is_told_why_in_numbers(wish: Demand, gpus: list[Device], reason: str) -> None:
    assert reason_of(place([wish], gpus, {})["a"]) == reason


def test_the_area_limit_is_the_admins() -> None:
    assert isinstance(place([demand("a", 500)], [device("g0")], {}, area_limit_permille=400)["a"], Unplaced)
    assert isinstance(place([demand("a", 500)], [device("g0")], {}, area_limit_permille=500)["a"], Placed)


def test_packing_fills_the_fullest_device_that_has_room() -> None:
    demands = [demand("a", 500), demand("b", 400), demand("c", 300)]
    placed = pack(demands, [device("g0"), device("g1"), device("g2")], area_limit_permille=850)
    assert {model: devices_of(outcome) for model, outcome in placed.items()} == {
        "a": ("g0",),
        "b": ("g1",),
        "c": ("g0",),
    }


def leaving(wanted: Demand, *uuids: str, closed: tuple[str, ...] = ()) -> Demand:
    return replace(wanted, leaves=frozenset(uuids), closed=frozenset({*uuids, *closed}))


def test_a_model_leaves_a_device_for_another_with_room() -> None:
    devices = [device("g0"), device("g1")]
    placed = place([leaving(demand("a", 300), "g0")], devices, {"a": ["g0"]})
    assert devices_of(placed["a"]) == ("g1",)
    assert place([leaving(demand("a", 300), "g0")], devices, {"a": ["g1"]}) == placed


def test_a_model_stays_on_a_device_that_it_should_leave_where_no_other_has_room() -> None:
    devices = [device("g0"), device("g1")]
    stays = place([leaving(demand("a", 500), "g0"), demand("b", 600)], devices, {"a": ["g0"], "b": ["g1"]})
    assert isinstance(stays["a"], Placed)
    assert stays["a"].devices == ("g0",)
    assert stays["a"].stuck is not None
    assert "the freest GPU has 25 % of its area left" in stays["a"].stuck


def test_replicas_leave_one_device_and_stay_on_the_other() -> None:
    devices = [device("g0"), device("g1"), device("g2")]
    placed = place([leaving(demand("a", 300, replicas=(2, 2)), "g0")], devices, {"a": ["g0", "g1"]})
    assert devices_of(placed["a"]) == ("g1", "g2")


def test_a_closed_device_keeps_what_it_has_and_takes_nothing_new() -> None:
    closed = frozenset({"g0"})
    demands = [replace(demand(name, 100), closed=closed) for name in ("old", "new")]
    placed = place(demands, [device("g0")], {"old": ["g0"]})
    assert devices_of(placed["old"]) == ("g0",)
    assert reason_of(placed["new"]) == "no GPU takes new workers"
