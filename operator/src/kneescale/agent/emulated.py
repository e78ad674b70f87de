"""The `emulated` backend: GPUs in name only; workers wait a batch's time, they compute nothing."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from kneescale.agent.backend import ContainerEdits, ContextLosses, Device, Share, Trouble, node_uuid
from kneescale.agent.emulated_faults import CONTEXTS_LOST, FILE_NAME, REMOVED, EmulatedFaults
from kneescale.core import worker_variables
from kneescale.core.backends import Backend
from kneescale.core.errors import InvalidInputError
from kneescale.core.tiers import MPS_CLIENTS, Tier
from kneescale.core.units import GIB


@dataclass(frozen=True, slots=True)
class _Product:
    memory_bytes: int
    sm_count: int


#: Memory and SMs from NVIDIA's Tesla V100 data sheet.
_PRODUCTS = {"V100-SXM2-16GB": _Product(memory_bytes=16 * GIB, sm_count=80)}
#: SMs in a chunk of the tier of SM partitions, as on Ampere: a real V100 has no such partitions.
_CHUNK_SMS = 4
_LANE_PERCENT_STEP = 10


class EmulatedBackend:
    """`count` emulated GPUs of one product, named gpu0, gpu1, ..., and their faults in a file of `state_dir`.

    Raises InvalidInputError when nothing is known of the product.
    """

    name = Backend.EMULATED.value
    knows_devices = True

    def __init__(
        self, node_name: str, count: int, product_name: str, state_dir: Path, tier: Tier = Tier.GREEN_CONTEXTS
    ) -> None:
        product = _PRODUCTS.get(product_name)
        if product is None:
            known = ", ".join(_PRODUCTS)
            raise InvalidInputError(
                f"KNEESCALE_EMULATED_PRODUCT must be one of {known}, not {product_name!r}"
            )
        self._faults = EmulatedFaults(state_dir / FILE_NAME)
        self._healthy = tuple(
            Device(
                name=f"gpu{index}",
                uuid=node_uuid("EMU", node_name, f"-{index}"),
                product_name=product_name,
                memory_bytes=product.memory_bytes,
                clients=product.sm_count // _CHUNK_SMS if tier is Tier.SM_PARTITIONS else MPS_CLIENTS,
                lane_percent_step=_LANE_PERCENT_STEP,
                sm_count=product.sm_count,
                tier=tier,
            )
            for index in range(count)
        )

    def devices(self) -> tuple[Device, ...]:
        """The emulated GPUs, but for removed ones."""
        faults = self._faults.read()
        return tuple(
            replace(device, sickness="" if fault == CONTEXTS_LOST else fault)
            for device in self._healthy
            if (fault := faults.get(device.name, "")) != REMOVED
        )

    def troubles(self) -> tuple[Trouble, ...]:
        """The removed ones."""
        faults = self._faults.read()
        removed = (device.name for device in self._healthy if faults.get(device.name) == REMOVED)
        return tuple(Trouble("GpuRemoved", f"{name} is removed in {FILE_NAME}") for name in removed)

    def context_losses(self) -> Mapping[str, ContextLosses]:
        """One on each GPU whose fault is just that."""
        faults = self._faults.read()
        reason = f"{CONTEXTS_LOST} in {FILE_NAME}"
        return {
            device.name: ContextLosses(int(faults.get(device.name) == CONTEXTS_LOST), reason)
            for device in self.devices()
        }

    def container_edits(self, device: Device, share: Share) -> ContainerEdits:
        """No cores to pin to: the worker computes nothing."""
        return ContainerEdits({worker_variables.CORES: ""})

    def reserve(self, device: Device, share: Share) -> None:
        """Nothing is to be made ready."""

    def release_others(self, claim_uids: Collection[str]) -> None:
        """Nothing was."""

    def run(self, stop: Event) -> None:
        """The file is read whenever somebody asks."""
