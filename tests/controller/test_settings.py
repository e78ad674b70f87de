"""The environment becomes settings, or one sentence that says what to change."""

import pytest

from kneescale.api.gpu_schedule import Policy
from kneescale.controller.settings import parse_address, parse_settings
from kneescale.core.errors import InvalidInputError
from kneescale.plan.state import Settings

IMAGE = {"KNEESCALE_WORKER_IMAGE": "kneescale/worker:local"}


def test_the_worker_image_is_enough() -> None:
    assert parse_settings(IMAGE) == Settings("kneescale/worker:local")


def test_every_setting() -> None:
    settings = parse_settings(
        IMAGE | {"KNEESCALE_SCHEDULING": "Temporal", "KNEESCALE_AREA_LIMIT_PERMILLE": "700"}
    )
    assert settings == Settings("kneescale/worker:local", Policy.TEMPORAL, 700)


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({}, "set KNEESCALE_WORKER_IMAGE to the image"),
        ({"KNEESCALE_WORKER_IMAGE": ""}, "set KNEESCALE_WORKER_IMAGE to the image"),
        (IMAGE | {"KNEESCALE_SCHEDULING": "Fair"}, "to one of SpatioTemporal, Temporal, not 'Fair'"),
        (IMAGE | {"KNEESCALE_AREA_LIMIT_PERMILLE": "0"}, "from 1 to 1000, not '0'"),
        (IMAGE | {"KNEESCALE_AREA_LIMIT_PERMILLE": "85%"}, "from 1 to 1000, not '85%'"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=sentence):
        parse_settings(environment)


def test_the_address_is_that_of_the_pod() -> None:
    assert parse_address({"KNEESCALE_POD_IP": "10.2.0.7"}) == "10.2.0.7"
    with pytest.raises(InvalidInputError, match="set KNEESCALE_POD_IP to the address of this pod, not ''"):
        parse_address({})
