"""A GPUSchedule remembers its device while the agent publishes nothing."""

from dataclasses import fields, replace

from kneescale.api.gpu_schedule import Policy, device_of, spec_of
from kneescale.api.resource_slice import GpuDevice
from kneescale.core.backends import Backend
from kneescale.core.tiers import Tier


def test_a_device_is_remembered_whole_but_for_what_only_its_agent_tells() -> None:
    device = GpuDevice(
        node="n1",
        name="gpu-0",
        uuid="GPU-1",
        product_name="NVIDIA A100-SXM4-40GB",
        backend=Backend.CUDA_MPS,
        tier=Tier.SM_PARTITIONS,
        lane_percent_step=10,
        memory_bytes=40 * 2**30,
        clients=48,
        sickness="XidError",
        driver_version="580.65.6",
    )
    assert all(getattr(device, field.name) != field.default for field in fields(device))
    remembered = device_of(spec_of(device, Policy.SPATIO_TEMPORAL, ()))
    assert remembered == replace(device, sickness="", driver_version="")
