from collections.abc import Sequence

import pytest

from kneescale.core.errors import InfeasibleError
from kneescale.sim.fleet import fleet_of
from kneescale.sim.scenario import Poisson, Scenario, ScenarioGpu, ScenarioModel
from kneescale.sim.trial import Trial
from tests.sim.serving import flat

TRIAL = Trial(Poisson())


def model(
    name: str = "a", *, rate_rps: float = 40, slo_ms: float = 100, **latencies_ms: float
) -> ScenarioModel:
    """Single items that each take a whole GPU for so long, by its product."""
    surfaces = {product: flat(ms, 1) for product, ms in latencies_ms.items()}
    return ScenarioModel(name, slo_ms, rate_rps, 1, next(iter(surfaces.values())), surfaces)


def scenario(models: Sequence[ScenarioModel], *products: str) -> Scenario:
    gpus = tuple(ScenarioGpu(f"gpu{number}", product) for number, product in enumerate(products))
    return Scenario(tuple(models), gpus, Poisson())


def parts(scenario: Scenario, load: float = 1.0) -> dict[str, list[float]]:
    """The rates of the models on each GPU that has any."""
    fleet = fleet_of(scenario, TRIAL, load)
    return {gpu.name: [tenant.rate_rps for tenant in gpu.tenants] for gpu in fleet}


@pytest.mark.parametrize("load", [0.25, 1, 4])
def test_models_are_placed_for_the_load_that_comes(load: float) -> None:
    # At 160 requests/s of 20 ms it takes 3.2 GPUs.
    placed = parts(scenario([model(rate_rps=160 / load, V=20)], *4 * ["V"]), load)
    assert placed == {f"gpu{number}": [40 / load] for number in range(4)}


def test_an_overload_is_on_all_gpus() -> None:
    assert len(parts(scenario([model(rate_rps=535, V=20)], *10 * ["V"]))) == 10
    # 3.3 GPUs of one model and 1.1 of the other.
    two = [model("a", rate_rps=165, V=20), model("b", rate_rps=55, V=20)]
    assert len(parts(scenario(two, *4 * ["V"]))) == 4


def test_a_model_goes_where_the_operator_has_a_run_for_it() -> None:
    # Half the SLO is 35 ms, which the T4 does not do.
    of_both = model(rate_rps=20, slo_ms=70, T4=44, V=20)
    assert parts(scenario([of_both], "T4", "V")) == {"gpu1": [20]}


def test_a_model_that_the_operator_refuses_is_simulated_even_so() -> None:
    assert parts(scenario([model(rate_rps=20, slo_ms=30, V=20)], "V", "V")) == {"gpu0": [20]}


def test_a_model_without_any_run_in_time_is_refused() -> None:
    with pytest.raises(InfeasibleError, match="model a: no run on these GPUs ends in 30 ms"):
        fleet_of(scenario([model(slo_ms=30, T4=44)], "T4", "T4"), TRIAL, 1.0)
