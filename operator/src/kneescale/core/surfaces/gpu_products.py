"""GPU products: what their vendor's datasheets say of them."""

from dataclasses import dataclass
from math import inf

from kneescale.core.errors import InvalidInputError
from kneescale.core.units import GIB, WHOLE_GPU_PERCENT

#: SMs that share a texture processing cluster: MPS gives clients whole ones. Seen on an H200 with driver
#: 580.159.04: of 132 SMs clients of 10, 20, 30, 50 and 70 GPU% got 12, 26, 38, 66 and 92.
CLUSTER_SMS = 2


def client_sms(sm_count: int, gpu_percent: int) -> int:
    """The SMs of an MPS client, of `sm_count`: its share, rounded down to whole clusters."""
    clusters = sm_count * gpu_percent // (WHOLE_GPU_PERCENT * CLUSTER_SMS)
    return max(1, clusters) * CLUSTER_SMS


@dataclass(frozen=True, slots=True)
class GpuProduct:
    """One product: its SMs, its peak in single precision (no tensor cores), and its memory.

    `tf32_per_s` is the peak of its tensor cores in TF32, of dense matrices; 0 where they have none.
    """

    name: str
    sm_count: int
    flops_per_s: float
    tf32_per_s: float
    bytes_per_s: float
    memory_bytes: int
    source: str

    def sms(self, gpu_percent: int) -> int:
        """SMs that a client of `gpu_percent` gets."""
        return client_sms(self.sm_count, gpu_percent)


_GB = 1_000_000_000

#: Hopper's datasheets give TF32 "with sparsity": half of that is here.
_PRODUCTS = (
    GpuProduct("V100-SXM2-16GB", 80, 15.7e12, 0, 900e9, 16 * _GB, "NVIDIA V100 Tensor Core GPU, datasheet"),
    GpuProduct("T4", 40, 8.1e12, 0, 320e9, 16 * _GB, "NVIDIA T4 Tensor Core GPU, datasheet"),
    GpuProduct(
        "A100-SXM4-40GB", 108, 19.5e12, 156e12, 1555e9, 40 * _GB, "NVIDIA A100 Tensor Core GPU, datasheet"
    ),
    GpuProduct(
        "H100-SXM5-80GB", 132, 67e12, 495e12, 3350e9, 80 * _GB, "NVIDIA H100 Tensor Core GPU, datasheet"
    ),
    GpuProduct(
        "H200", 132, 67e12, 495e12, 4800e9, 141 * _GB, "NVIDIA H200 Tensor Core GPU, datasheet; SMs as read"
    ),
    GpuProduct(
        "H100-PCIe-80GB", 114, 51e12, 378e12, 2000e9, 80 * _GB, "NVIDIA H100 Tensor Core GPU, datasheet"
    ),
)
_BY_NAME = {product.name: product for product in _PRODUCTS}


def has_datasheet(name: str) -> bool:
    """Whether `gpu_product` knows the product."""
    return name in _BY_NAME


def datasheet_gib(name: str) -> float:
    """The memory of the product of that name in GiB; without a datasheet nothing limits it."""
    return _BY_NAME[name].memory_bytes / GIB if name in _BY_NAME else inf


def gpu_product(name: str) -> GpuProduct:
    """The product of that name.

    Raises InvalidInputError, naming those there are, on any other.
    """
    product = _BY_NAME.get(name)
    if product is None:
        raise InvalidInputError(f"no datasheet of {name}; there are those of {', '.join(_BY_NAME)}")
    return product
