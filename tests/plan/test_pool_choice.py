"""The choice of lanes on one GPU: what stays, what is chosen anew, and what there is if nothing will do."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from kneescale.api.inference_model import InferenceModel, InferenceModelSpec, ModelSource, Overrides, Slo
from kneescale.api.meta import Metadata
from kneescale.api.names import DEVICE_ANNOTATION, MODEL_LABEL
from kneescale.api.resource_slice import GpuDevice
from kneescale.api.vocabulary import Role
from kneescale.core.backends import Backend, ModelFormat
from kneescale.core.planning.configuration import Configuration
from kneescale.core.tiers import Tier
from kneescale.plan.pools import Resident, choose_worker_lanes
from kneescale.plan.profiles import Profile
from kneescale.plan.sizing import Size
from kneescale.plan.state import Settings
from kneescale.plan.workloads import Claim
from tests.core.sample_surfaces import small_surface

GPU = GpuDevice(
    "node1", "gpu0", "GPU-1", "H100", Backend.EMULATED, Tier.MPS_PROCESSES, 10, 80 << 30, clients=48
)
SM_PARTITIONS = replace(GPU, tier=Tier.SM_PARTITIONS, clients=20)
SLO_MS = 50
#: What a model gets where no choice is feasible.
PLANNED = Configuration(gpu_percent=30, batch=8, latency_ms=8, efficacy=1.0, area_permille=100)
PROFILE = Profile("profile", small_surface(), knee_percent=None)


def resident(
    name: str = "a",
    *,
    rate_ips: float | None = 100,
    replicas: int = 1,
    gpu_percent: int | None = None,
    slo_ms: int = SLO_MS,
) -> Resident:
    spec = InferenceModelSpec(
        ModelSource("catalog://small", ModelFormat.EMULATED),
        Slo(slo_ms),
        overrides=Overrides(gpu_percent=gpu_percent),
    )
    model = InferenceModel(Metadata(name, "default"), spec)
    return Resident(model, Size(PLANNED, PROFILE, rate_ips), replicas)


def claim(*lanes: int, created_at: str = "2026-01-01T00:00:00Z") -> Claim:
    """Of the worker of model a that has these lanes."""
    return Claim(
        Metadata(
            f"a-{'-'.join(map(str, lanes))}",
            "default",
            created_at=created_at,
            labels={MODEL_LABEL: "a"},
            annotations={DEVICE_ANNOTATION: GPU.uuid},
        ),
        role=Role.SERVE,
        memory_bytes=len(lanes) << 30,
        clients=len(lanes),
        lanes=lanes,
    )


def chosen(
    *residents: Resident, claims: Sequence[Claim] = (), device: GpuDevice = GPU
) -> dict[str, tuple[int, ...]]:
    """The lanes of each model's worker, by its name."""
    found = choose_worker_lanes(device, residents, claims, Settings(worker_image="kneescale/worker:1"))
    return {name: lanes for (_, name), lanes in found.items()}


@pytest.mark.parametrize(
    ("running", "stays"),
    [
        # Lanes chosen anew carry a tenth more than the first, and half as much again as the second.
        ((20, 20, 20, 20), True),
        ((20, 40), False),
    ],
)
def test_lanes_that_do_not_carry_the_rate_stay_unless_others_carry_a_fifth_more(
    running: tuple[int, ...], stays: bool
) -> None:
    model = resident(rate_ips=3100)
    anew = chosen(model)
    assert anew != {"a": running}
    assert chosen(model, claims=[claim(*running)]) == ({"a": running} if stays else anew)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(claim(20, 20), role=Role.PROFILE), id="it measures"),
        pytest.param(
            replace(claim(20, 20), metadata=replace(claim().metadata, gone_at="2026-01-01T00:01:00Z")),
            id="it is going",
        ),
        pytest.param(
            replace(claim(20, 20), metadata=replace(claim().metadata, annotations={DEVICE_ANNOTATION: "G2"})),
            id="it is on another GPU",
        ),
        pytest.param(claim(20, 20, 20, 20, 20), id="it has too many lanes"),
        pytest.param(claim(15, 20), id="the GPU has no such lanes"),
    ],
)
def test_only_a_living_workers_lanes_on_this_gpu_are_there_to_stay(other: Claim) -> None:
    assert chosen(resident(), claims=[claim(20, 20)]) == {"a": (20, 20)}
    assert chosen(resident(), claims=[other]) == chosen(resident())


def test_of_two_workers_the_lanes_of_the_newer_one_stay() -> None:
    newer, older = claim(20, 20, created_at="2026-01-02T00:00:00Z"), claim(30, 30)
    assert chosen(resident(), claims=[newer, older]) == {"a": (20, 20)}


def test_each_replica_has_its_part_of_the_rate_to_carry() -> None:
    running = claim(40)
    assert chosen(resident(rate_ips=2000, replicas=2), claims=[running]) == {"a": (40,)}
    assert chosen(resident(rate_ips=2000, replicas=1), claims=[running]) != {"a": (40,)}


def test_a_model_of_which_no_rate_is_known_has_a_planned_batch_in_each_slo_to_carry() -> None:
    # 160 requests per second: the one lane carries 119, the other one 536.
    assert chosen(resident(rate_ips=None), claims=[claim(20)]) == {"a": (20,)}
    assert chosen(resident(rate_ips=None), claims=[claim(10)]) != {"a": (10,)}


def test_a_gpu_percent_that_is_fixed_comes_before_lanes_that_run() -> None:
    assert chosen(resident(gpu_percent=40), claims=[claim(10, 20)]) == {"a": (40,)}


@pytest.mark.parametrize(
    ("gpu_percent", "claims", "lanes"),
    [
        pytest.param(None, [], (PLANNED.gpu_percent,), id="planned"),
        pytest.param(None, [claim(10, 20)], (10, 20), id="running"),
        pytest.param(40, [claim(10, 20)], (40,), id="fixed"),
    ],
)
def test_where_no_run_ends_in_time_a_worker_has_the_lanes_that_it_has(
    gpu_percent: int | None, claims: list[Claim], lanes: tuple[int, ...]
) -> None:
    too_slow = resident(gpu_percent=gpu_percent, slo_ms=1)
    assert chosen(too_slow, claims=claims) == {"a": lanes}


def test_where_no_run_ends_in_time_an_sm_partition_is_the_planned_lane() -> None:
    assert chosen(resident(slo_ms=1), device=SM_PARTITIONS) == {"a": (PLANNED.gpu_percent,)}


def test_where_not_all_have_room_they_have_one_lane_each_as_planned_or_fixed() -> None:
    both = resident("a"), resident("b", gpu_percent=40)
    lanes = chosen(*both, claims=[claim(10, 20)], device=replace(GPU, clients=1))
    assert lanes == {"a": (PLANNED.gpu_percent,), "b": (40,)}
