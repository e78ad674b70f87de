"""Workers come, serve and go, and no request is lost but where nobody serves."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from kneescale.sim.autoscaling.fleet import Fleet, Place, Wanted
from kneescale.sim.autoscaling.scene import Scene
from kneescale.sim.dispatched import terms_of
from tests.sim.autoscaling.scenes import START_S, scene


def wanted(of: Scene, *gpus: int) -> dict[str, Wanted]:
    """The model on those of the GPUs."""
    terms = terms_of(of.tenants("")[0], 100, 1)
    return {"a": Wanted({Place(f"gpu{number}"): terms for number in gpus}, 1.0, 1.0)}


def serve(fleet: Fleet, from_s: int, until_s: int) -> None:
    for now_s in range(from_s, until_s):
        fleet.apply({"a": Wanted({w.place: w.terms for w in fleet.workers["a"]}, 1, 1)}, now_s, START_S)
        fleet.serve(now_s)


def waits(fleet: Fleet) -> NDArray[np.float64]:
    return np.concatenate([gpu.journal.waits_ms(0) for gpu in fleet.gpus])


def test_a_worker_serves_once_it_has_started_and_until_then_requests_are_lost() -> None:
    of = scene()
    fleet = Fleet(of)
    fleet.apply(wanted(of, 0), 0, START_S)
    serve(fleet, 0, 10)
    lost = np.concatenate(fleet.lost[0])
    assert lost.tolist() == [at for at in of.arrivals[0] if at < START_S * 10**9]
    assert len(waits(fleet)) == sum(START_S * 10**9 <= at < 10**10 for at in of.arrivals[0])


def test_who_is_to_go_serves_until_another_does() -> None:
    of = scene()
    fleet = Fleet(of)
    fleet.apply(wanted(of, 0), 0, 0)
    fleet.serve(0)
    for now_s in range(1, 10):
        fleet.apply(wanted(of, 1), now_s, START_S)
        fleet.serve(now_s)
        serving = {worker.place.gpu for worker in fleet.workers["a"] if worker.is_ready(now_s)}
        assert serving == ({"gpu0"} if now_s < 1 + START_S else {"gpu1"})
    assert not any(map(len, fleet.lost[0]))


def test_a_worker_that_goes_answers_what_it_has() -> None:
    # Three times of what one GPU can do is queued on each of two when one of them goes.
    of = scene(rate_rps=80, duration_s=6)
    fleet = Fleet(of)
    fleet.apply(wanted(of, 0, 1), 0, 0)
    serve(fleet, 0, 3)
    fleet.apply(wanted(of, 0), 3, 0)
    serve(fleet, 3, 6)
    fleet.finish()
    gone = fleet.gpus[1].journal
    assert gone.arrived_ns(0).max() < 3 * 10**9
    assert (gone.waits_ms(0) < np.inf).mean() > 0.9
    assert sum(len(gpu.journal.arrived_ns(0)) for gpu in fleet.gpus) == len(of.arrivals[0])


def test_ready_workers_have_their_parts() -> None:
    of = scene(rate_rps=60)
    fleet = Fleet(of)
    fleet.apply(wanted(of, 0, 1, 2), 0, 0)
    serve(fleet, 0, 30)
    for worker in fleet.workers["a"]:
        seconds = worker.seconds
        assert np.mean([second.requests for second in seconds]) == pytest.approx(20, rel=0.15)
        assert np.mean([second.busy for second in seconds]) == pytest.approx(0.4, rel=0.15)
        # Little's law: 20 requests a second that each take at least 20 ms.
        assert 0.36 < np.mean([second.in_flight for second in seconds]) < 0.8


def test_arrivals_routes_and_the_noise_of_each_gpu_have_randomness_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    default_rng, streams = np.random.default_rng, list[float]()

    def noted(seed: Sequence[int]) -> np.random.Generator:
        streams.append(default_rng(seed).random())
        return default_rng(seed)

    monkeypatch.setattr(np.random, "default_rng", noted)
    of = scene()
    fleet = Fleet(of)
    fleet.apply(wanted(of, 0, 1, 2), 0, 0)
    fleet.serve(0)
    assert len(streams) == len(set(streams)) == 1 + 3 + len(of.arrivals)
