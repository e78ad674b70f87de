"""NVIDIA Triton Inference Server: a dynamic batcher for each model, and instances that know no GPU%."""

from collections.abc import Sequence
from typing import NamedTuple

from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.sim.baselines.processes import Process, Processes, largest_within
from kneescale.sim.tenant import Tenant


class ModelConfig(NamedTuple):
    """What Triton's configuration of one model says.

    `budget` and `delay` are parts of the SLO: what the largest batch may take alone on the GPU, and how
    long to wait for it; the timeout is what such a batch leaves.
    """

    instances: int
    budget: float
    delay: float


class Triton(Processes):
    """A free instance takes what is queued, up to the largest batch; all instances run at once.

    From Triton's user guide, "Batchers" and "Model configuration": the dynamic batcher makes batches as
    large as it can up to the maximum and by default delays nothing; `max_queue_delay_microseconds` makes
    a request wait for a larger batch while an instance is free, here for the largest; a queue policy's
    `default_timeout_microseconds` with REJECT refuses what has waited too long; `instance_group` sets how
    many instances a model has (one by default), which run in parallel if the GPU has room. Each may use
    the whole GPU, so that they slow each other down when they run at once.

    Which configurations suit a mix is for a search to find, model by model, as Triton's own Model
    Analyzer does, which tries 1 to 5 instances unless told otherwise. `configs` are one for all models or
    one for each.
    """

    def __init__(self, tenants: tuple[Tenant, ...], *, configs: Sequence[ModelConfig]) -> None:
        super().__init__(tenants, list(map(_process, tenants, of_each(configs, len(tenants)))))


def of_each(configs: Sequence[ModelConfig], models: int) -> tuple[ModelConfig, ...]:
    """The configuration of each of so many models, of which there is one for all or one for each."""
    return tuple(configs) if len(configs) == models else tuple(configs) * models


def _process(tenant: Tenant, config: ModelConfig) -> Process:
    most = largest_within(config.budget, tenant)
    return Process(
        gpu_percent=WHOLE_GPU_PERCENT,
        most=most,
        wanted=most if config.delay else 1,
        delay_ns=round(config.delay * tenant.slo_ns),
        timeout_ns=max(0, tenant.slo_ns - tenant.latency_ns(WHOLE_GPU_PERCENT, most)),
        instances=config.instances,
    )
