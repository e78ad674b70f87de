from pathlib import Path

import pytest

from kneescale.core.errors import InvalidInputError
from kneescale_worker.settings import parse_settings

_ENV = {
    "KNEESCALE_MODEL_NAME": "lite0",
    "KNEESCALE_MODEL_URI": "oci://models/lite0",
    "KNEESCALE_MODEL_FORMAT": "TorchScript",
    "KNEESCALE_MAX_BATCH": "16",
    "KNEESCALE_SOCKET": "/run/kneescale/dispatcher.sock",
    "KNEESCALE_BACKEND": "cpu",
    "KNEESCALE_PRODUCT": "CPU-2x-epyc",
    "KNEESCALE_LANES": "100,50",
    "KNEESCALE_CORES": "0,1",
}


def test_settings_are_read_with_the_defaults_of_a_pod() -> None:
    settings = parse_settings(_ENV)
    assert (settings.lanes, settings.cores, settings.max_batch) == ((50, 100), frozenset({0, 1}), 16)
    assert (settings.http_port, settings.grpc_port, settings.metrics_port) == (8000, 8001, 8002)
    assert settings.profile_seconds == 45
    assert settings.socket == Path("/run/kneescale/dispatcher.sock")
    assert settings.termination_path == Path("/dev/termination-log")


@pytest.mark.parametrize(
    ("tier", "lanes"),
    [("green-contexts", (20, 50)), ("mps-contexts", (20, 20, 50)), ("mps-processes", (20, 20, 50))],
)
def test_only_lanes_that_run_one_batch_at_a_time_come_in_pools(tier: str, lanes: tuple[int, ...]) -> None:
    settings = parse_settings({**_ENV, "KNEESCALE_TIER": tier, "KNEESCALE_LANES": "50,20,20"})
    assert (settings.tier, settings.lanes) == (tier, lanes)


def test_a_gpu_has_sms() -> None:
    env = {**_ENV, "KNEESCALE_BACKEND": "cuda-mps"}
    assert parse_settings({**env, "KNEESCALE_SM_COUNT": "80"}).sm_count == 80
    with pytest.raises(InvalidInputError, match="KNEESCALE_SM_COUNT is not set"):
        parse_settings(env)


def test_a_worker_in_an_sm_partition_knows_where_to_find_which() -> None:
    env = {**_ENV, "KNEESCALE_TIER": "sm-partitions", "KNEESCALE_LANES": "50"}
    assert parse_settings(env).sm_partition_dir is None, "there is no GPU"
    env |= {"KNEESCALE_BACKEND": "cuda-mps", "KNEESCALE_SM_COUNT": "108"}
    with pytest.raises(InvalidInputError, match="KNEESCALE_SM_PARTITION_DIR is not set"):
        parse_settings(env)
    assert parse_settings({**env, "KNEESCALE_SM_PARTITION_DIR": "/run/sm"}).sm_partition_dir == Path(
        "/run/sm"
    )


@pytest.mark.parametrize("name", [name for name in _ENV if name != "KNEESCALE_CORES"])
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} is not set"):
        parse_settings({key: value for key, value in _ENV.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("KNEESCALE_MAX_BATCH", "0", "from 1 to 128"),
        ("KNEESCALE_MAX_BATCH", "many", "from 1 to 128"),
        ("KNEESCALE_QUEUE_LIMIT", "65536", "from 1 to 65535"),
        ("KNEESCALE_LANES", "10,x", "should list GPU%"),
        ("KNEESCALE_LANES", "101", "should list GPU%"),
        ("KNEESCALE_TIER", "mig", "should be green-contexts or mps-contexts or mps-processes or sm-part"),
        ("KNEESCALE_CORES", "0-3", "should list CPU numbers"),
        ("KNEESCALE_BACKEND", "emulated", "TorchScript does not run on backend emulated"),
        ("KNEESCALE_MODEL_FORMAT", "ONNX", "possible: TorchScript on cpu or cuda-mps, Emulated on emulated"),
    ],
)
def test_what_is_wrong_says_what_to_change(name: str, value: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        parse_settings({**_ENV, name: value})
