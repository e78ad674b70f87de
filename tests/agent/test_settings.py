"""Settings are read once, and a wrong one is named."""

import pytest

from kneescale.agent.settings import read_settings
from kneescale.core.backends import Backend
from kneescale.core.errors import InvalidInputError
from kneescale.core.tiers import Tier

GOOD = {"KNEESCALE_NODE_NAME": "node1", "KNEESCALE_BACKEND": "emulated"}


def test_defaults_are_those_of_the_node() -> None:
    settings = read_settings(GOOD)
    assert settings.backend is Backend.EMULATED
    assert str(settings.dra_socket) == "/var/lib/kubelet/plugins/gpu.kneescale.dev/dra.sock"
    assert str(settings.registration_socket) == "/var/lib/kubelet/plugins_registry/gpu.kneescale.dev-reg.sock"
    assert settings.http_port == 9400
    assert (settings.tier, settings.driver_root) == (None, None)


def test_each_variable_counts() -> None:
    settings = read_settings(
        {
            **GOOD,
            "KNEESCALE_EMULATED_GPUS": "3",
            "KNEESCALE_EMULATED_PRODUCT": "A100",
            "KNEESCALE_STATE_DIR": "/tmp/state",
            "KNEESCALE_HTTP_PORT": "0",
            "KNEESCALE_TIER": "mps-processes",
            "KNEESCALE_DRIVER_ROOT": "/host",
        }
    )
    assert (settings.tier, str(settings.driver_root)) == (Tier.MPS_PROCESSES, "/host")
    assert (settings.emulated_gpus, settings.emulated_product, settings.http_port) == (3, "A100", 0)
    assert str(settings.checkpoint_path) == "/tmp/state/checkpoint.json"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"KNEESCALE_NODE_NAME": ""}, "KNEESCALE_NODE_NAME"),
        ({"KNEESCALE_BACKEND": "cuda"}, "KNEESCALE_BACKEND to cpu or emulated"),
        (
            {"KNEESCALE_TIER": "mig"},
            "KNEESCALE_TIER must be one of green-contexts, mps-contexts, mps-processes, sm-partitions, not",
        ),
        ({"KNEESCALE_EMULATED_GPUS": "0"}, "KNEESCALE_EMULATED_GPUS must be an integer from 1 to 16"),
        (
            {"KNEESCALE_HTTP_PORT": "http"},
            "KNEESCALE_HTTP_PORT must be an integer from 0 to 65535, not 'http'",
        ),
    ],
)
def test_a_wrong_setting_is_named(changes: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_settings({**GOOD, **changes})
