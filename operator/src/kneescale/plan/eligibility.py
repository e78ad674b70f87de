"""Which devices a model may use at all: by backend, product and the GPU% that they can give."""

from collections.abc import Sequence
from dataclasses import dataclass

from kneescale.api.inference_model import InferenceModel
from kneescale.api.resource_slice import GpuDevice
from kneescale.plan.finding import Finding, fails, holds


@dataclass(frozen=True, slots=True)
class Eligibility:
    """The devices that a model may use; none when `accepted` or `obstacle` says why not."""

    accepted: Finding
    devices: tuple[GpuDevice, ...] = ()
    #: Why the model cannot be placed whatever its profile says.
    obstacle: Finding | None = None


def find_devices(model: InferenceModel, devices: Sequence[GpuDevice]) -> Eligibility:
    """The devices for `model`, or what stands against each."""
    accepted = holds("Accepted", "the spec is valid")
    if not devices:
        message = "no node publishes a GPU; check that the Kneescale agent runs on the GPU nodes"
        return Eligibility(accepted, obstacle=fails("NoGPUs", message))
    right_backend = [device for device in devices if device.backend in model.spec.model.format.backends]
    if not right_backend:
        return Eligibility(_wrong_backend(model, devices))
    wanted = model.spec.gpu.products
    right_product = [device for device in right_backend if not wanted or device.product_name in wanted]
    if not right_product:
        return Eligibility(accepted, obstacle=_no_product(wanted, right_backend))
    right_step = [device for device in right_product if _gives(device, model)]
    if not right_step:
        return Eligibility(accepted, obstacle=_no_such_share(model, right_product))
    return Eligibility(accepted, tuple(right_step))


def worker_lanes(model: InferenceModel, device: GpuDevice) -> tuple[int, ...]:
    """The lanes that a worker gets on a device: all of them, or the one that the user fixed."""
    fixed = _fixed_gpu_percent(model)
    return (fixed,) if fixed else device.lanes


def _fixed_gpu_percent(model: InferenceModel) -> int | None:
    return model.spec.overrides.gpu_percent if model.spec.overrides else None


def _gives(device: GpuDevice, model: InferenceModel) -> bool:
    fixed = _fixed_gpu_percent(model)
    return fixed is None or fixed in device.lanes


def _wrong_backend(model: InferenceModel, devices: Sequence[GpuDevice]) -> Finding:
    backends = " and ".join(sorted({device.backend for device in devices}))
    source = model.spec.model
    return fails(
        "WrongBackend",
        f"{source.uri} of format {source.format} does not run on the {backends} backend of this cluster; "
        "catalog:// models of format Emulated run on the emulated backend, all others on real devices",
    )


def _no_product(wanted: Sequence[str], devices: Sequence[GpuDevice]) -> Finding:
    have = ", ".join(sorted({device.product_name for device in devices}))
    return fails("NoMatchingGPU", f"no GPU of product {' or '.join(wanted)}; the cluster has {have}")


def _no_such_share(model: InferenceModel, devices: Sequence[GpuDevice]) -> Finding:
    steps = " or ".join(str(step) for step in sorted({device.lane_percent_step for device in devices}))
    return fails(
        "GPUPercentNotOffered",
        f"spec.overrides.gpuPercent is {_fixed_gpu_percent(model)}; the GPUs here give multiples of {steps}",
    )
