import pytest

from kneescale.core.errors import InvalidInputError
from kneescale.core.surfaces.catalog import catalog, lookup
from kneescale.core.surfaces.knee import find_knee
from tests.core.sample_surfaces import LANES


def test_every_model_tells_its_error() -> None:
    assert len(catalog()) >= 30
    assert all(0 < model.p90_error < 0.3 for model in catalog())


def test_no_model_is_there_twice() -> None:
    names = [model.name for model in catalog()]
    assert names == sorted(set(names))


# A few of the measurements that the figures were fitted to (RaPP, commit 600348c1).
@pytest.mark.parametrize(
    ("name", "gpu_percent", "batch", "measured_ms"),
    [
        ("alexnet", 10, 8, 11.2),
        ("resnet50", 20, 8, 32.0),
        ("resnet50", 100, 1, 20.6),
        ("vgg19", 50, 8, 36.1),
        ("vgg19", 10, 1, 23.7),
    ],
)
def test_figures_are_near_their_source(name: str, gpu_percent: int, batch: int, measured_ms: float) -> None:
    model = lookup(name, "V100-SXM2-16GB")
    assert model.latency_ms(gpu_percent, batch) == pytest.approx(measured_ms, rel=0.15)


def test_the_surface_is_the_figures() -> None:
    model = lookup("vgg19", "V100-SXM2-16GB")
    surface = model.surface(LANES, (1, 8))
    assert surface.latency_ms(30, 8) == model.latency_ms(30, 8)


def test_models_differ_in_their_knees() -> None:
    knees = {model.name: find_knee(model.surface(LANES, (8,))) for model in catalog()}
    assert len(set(knees.values())) >= 4


def test_an_unknown_model_is_told_what_there_is() -> None:
    with pytest.raises(
        InvalidInputError, match="no figures of bert on V100-SXM2-16GB; on it, it has alexnet"
    ):
        lookup("bert", "V100-SXM2-16GB")
    with pytest.raises(InvalidInputError, match="no figures of alexnet on T4; on it, it has nothing"):
        lookup("alexnet", "T4")
