"""The `emulated` backend: GPUs in name only; workers wait a batch's time, they compute nothing."""

from dataclasses import dataclass

from kneescale.agent.backend import ContainerEdits, Device, node_uuid
from kneescale.core.errors import InvalidInputError

_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class _Product:
    memory_bytes: int
    sm_count: int


#: Memory and SMs from NVIDIA's Tesla V100 data sheet.
_PRODUCTS = {"V100-SXM2-16GB": _Product(memory_bytes=16 * _GIB, sm_count=80)}
#: MPS clients per device before CUDA 13.1 (NVIDIA MPS documentation).
_CLIENTS = 48
_LANE_PERCENT_STEP = 10


class EmulatedBackend:
    """`count` emulated GPUs of one product, named gpu0, gpu1, ...

    Raises InvalidInputError when nothing is known of the product.
    """

    name = "emulated"

    def __init__(self, node_name: str, count: int, product_name: str) -> None:
        product = _PRODUCTS.get(product_name)
        if product is None:
            known = ", ".join(_PRODUCTS)
            raise InvalidInputError(
                f"KNEESCALE_EMULATED_PRODUCT must be one of {known}, not {product_name!r}"
            )
        self._devices = tuple(
            Device(
                name=f"gpu{index}",
                uuid=node_uuid("EMU", node_name, f"-{index}"),
                product_name=product_name,
                memory_bytes=product.memory_bytes,
                clients=_CLIENTS,
                lane_percent_step=_LANE_PERCENT_STEP,
                sm_count=product.sm_count,
            )
            for index in range(count)
        )

    def devices(self) -> tuple[Device, ...]:
        """The emulated GPUs."""
        return self._devices

    def container_edits(self, device: Device) -> ContainerEdits:
        """No cores to pin to: the worker computes nothing."""
        return ContainerEdits({"KNEESCALE_CORES": ""})
