"""The worker's settings: environment variables, parsed once at start-up."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kneescale.core import worker_pod
from kneescale.core import worker_variables as variables
from kneescale.core.backends import Backend, ModelFormat
from kneescale.core.errors import InvalidInputError
from kneescale.core.tiers import Tier
from kneescale.telemetry import logs

#: For measuring: with starting and warming up a profile is to take a minute.
_PROFILE_SECONDS = 45


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator (model, bounds) and the agent (device, lanes, socket) tell this worker."""

    model_name: str
    model_uri: str
    model_format: ModelFormat
    #: The most items in one batch.
    max_batch: int
    backend: Backend
    #: Name of the device on its node; empty in a claim that an agent without this prepared.
    device: str
    #: Product name of the device, as its ResourceSlice says.
    product: str
    #: How lanes are made; on backends without a GPU, only whether in processes of their own.
    tier: Tier
    #: GPU% of each lane, ascending; in tiers with pools one may come several times.
    lanes: tuple[int, ...]
    #: SMs of the whole device; 0 where it has none.
    sm_count: int
    #: Where the worker finds its SM partition's id; None in other tiers, and where there is no GPU.
    sm_partition_dir: Path | None
    #: CPU cores of the device; empty where the device is no CPU.
    cores: frozenset[int]
    #: Socket of the agent's dispatcher.
    socket: Path
    model_dir: Path
    http_port: int
    grpc_port: int
    metrics_port: int
    #: Items that may wait before requests are refused.
    queue_limit: int
    #: How long a profile may take.
    profile_seconds: int
    #: Where the kubelet reads why the container ended, and the profile's result.
    termination_path: Path


def parse_settings(env: Mapping[str, str]) -> Settings:
    """The settings in `env`.

    Raises InvalidInputError naming the variable and what it should be.
    """
    model_format, backend = _format_and_backend(env)
    tier = _tier(env)
    return Settings(
        model_name=_required(env, variables.MODEL_NAME),
        model_uri=_required(env, variables.MODEL_URI),
        model_format=model_format,
        max_batch=_integer(env, variables.MAX_BATCH, 1, 128),
        backend=backend,
        device=env.get(variables.DEVICE, ""),
        product=_required(env, variables.PRODUCT),
        tier=tier,
        lanes=_lanes(env, tier),
        sm_count=_sm_count(env, backend),
        sm_partition_dir=_sm_partition_dir(env, tier, backend),
        cores=_cores(env),
        socket=Path(_required(env, variables.SOCKET)),
        model_dir=Path(env.get(variables.MODEL_DIR, worker_pod.MODEL_DIR)),
        http_port=_integer(env, variables.HTTP_PORT, 1, 65535, worker_pod.HTTP_PORT),
        grpc_port=_integer(env, variables.GRPC_PORT, 1, 65535, worker_pod.GRPC_PORT),
        metrics_port=_integer(env, variables.METRICS_PORT, 1, 65535, worker_pod.METRICS_PORT),
        queue_limit=_integer(env, variables.QUEUE_LIMIT, 1, 65535, 4096),
        profile_seconds=_integer(env, variables.PROFILE_SECONDS, 1, 3600, _PROFILE_SECONDS),
        termination_path=termination_path(env),
    )


def configure_logs(env: Mapping[str, str]) -> None:
    """Have every line of the log name the model and the device, also those about settings that are wrong."""
    logs.configure(model=env.get(variables.MODEL_NAME, ""), device=env.get(variables.DEVICE, ""))


def termination_path(env: Mapping[str, str]) -> Path:
    """Where the termination message goes; known even when the other settings are wrong."""
    return Path(env.get(variables.TERMINATION_PATH, "/dev/termination-log"))


def _required(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "")
    if not value:
        raise InvalidInputError(f"{name} is not set")
    return value


def _integer(env: Mapping[str, str], name: str, lowest: int, highest: int, default: int | None = None) -> int:
    text = env.get(name) or (_required(env, name) if default is None else str(default))
    if not text.isdecimal() or not lowest <= int(text) <= highest:
        raise InvalidInputError(f"{name} is {text!r}; it should be an integer from {lowest} to {highest}")
    return int(text)


def _format_and_backend(env: Mapping[str, str]) -> tuple[ModelFormat, Backend]:
    asked = _required(env, variables.MODEL_FORMAT), _required(env, variables.BACKEND)
    for model_format in ModelFormat:
        for backend in model_format.backends:
            if asked == (model_format, backend):
                return model_format, backend
    pairs = ", ".join(f"{each} on {' or '.join(each.backends)}" for each in ModelFormat)
    raise InvalidInputError(f"format {asked[0]} does not run on backend {asked[1]}; possible: {pairs}")


def _tier(env: Mapping[str, str]) -> Tier:
    text = env.get(variables.TIER) or Tier.GREEN_CONTEXTS
    try:
        return Tier(text)
    except ValueError as error:
        raise InvalidInputError(f"{variables.TIER} is {text!r}; it should be {' or '.join(Tier)}") from error


def _sm_count(env: Mapping[str, str], backend: Backend) -> int:
    if backend is Backend.CUDA_MPS:
        return _integer(env, variables.SM_COUNT, 1, 1024)
    return _integer(env, variables.SM_COUNT, 0, 1024, 0)


def _sm_partition_dir(env: Mapping[str, str], tier: Tier, backend: Backend) -> Path | None:
    if tier is Tier.SM_PARTITIONS and backend is Backend.CUDA_MPS:
        return Path(_required(env, variables.SM_PARTITION_DIR))
    return None


def _lanes(env: Mapping[str, str], tier: Tier) -> tuple[int, ...]:
    text = _required(env, variables.LANES)
    parts = text.split(",")
    if not all(part.isdecimal() and 1 <= int(part) <= 100 for part in parts):
        raise InvalidInputError(f"{variables.LANES} is {text!r}; it should list GPU%, like 10,20,100")
    lanes = [int(part) for part in parts]
    return tuple(sorted(lanes if tier.has_pools else set(lanes)))


def _cores(env: Mapping[str, str]) -> frozenset[int]:
    """The device's CPU cores; those this process may use where the agent names none."""
    text = env.get(variables.CORES, "")
    if not text:
        return frozenset(os.sched_getaffinity(0))
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts):
        raise InvalidInputError(f"{variables.CORES} is {text!r}; it should list CPU numbers, like 0,1")
    return frozenset(int(part) for part in parts)
