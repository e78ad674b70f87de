import pickle

import pytest

from kneescale.sim.outcome import outcome_of
from kneescale.sim.scenario import Poisson
from kneescale.sim.systems import SYSTEMS
from kneescale.sim.trial import Trial
from tests.sim.serving import mix


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_variants_of_a_system_can_be_told_apart(name: str) -> None:
    shown = [variant.parameters for variant in SYSTEMS[name]]
    assert len(set(shown)) == len(shown) >= 1


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_variant_can_be_sent_to_another_process(name: str) -> None:
    variant = SYSTEMS[name][-1]
    trial = Trial(Poisson(), duration_s=0.2, warmup_s=0)
    here, there = (trial.run(mix(), one.system) for one in (variant, pickle.loads(pickle.dumps(variant))))
    assert outcome_of([here]) == outcome_of([there])
