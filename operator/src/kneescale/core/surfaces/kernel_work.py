"""What a model's kernels have to do, counted from its layers: before anything is measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from reprlib import repr as short_repr

from kneescale.core.errors import InvalidInputError

#: Bytes of a number in single precision.
_BYTES = 4
#: Of operations, results and bytes: more than a GPU does in an hour, and no integer that no float holds.
_MAX_WORK = 1e18
#: Multiplications that a 3 x 3 convolution of stride 1 is spared in tiles of 2 x 2 (Lavin and Gray, "Fast
#: Algorithms for Convolutional Neural Networks", arXiv 1509.09308), which is what libraries then choose.
_WINOGRAD_SAVING = 2.25


@dataclass(frozen=True, slots=True)
class KernelWork:
    """One kernel: its operations, how many of them can go on at once, and the memory that it moves.

    `operations` (floating point; a multiplication and an addition are two), `results` (numbers computed
    independently of each other: D-STACK's parallel operations, arXiv 2304.13541) and `item_bytes` are for
    each item of a batch; `batch_bytes`, the weights, are read once a batch. `convolution_operations` are
    those of a convolution that tensor cores can do instead, each multiplication by itself; 0 of others.
    """

    operations: float
    results: int
    item_bytes: int
    batch_bytes: int = 0
    convolution_operations: float = 0.0

    def __post_init__(self) -> None:
        """Raise InvalidInputError on what no kernel can be."""
        if not (1 <= self.results <= _MAX_WORK and self.results % 1 == 0):
            raise InvalidInputError(
                f"a kernel has a whole number of results, 1 to {_MAX_WORK:g}, not {short_repr(self.results)}"
            )
        for work in (self.operations, self.item_bytes, self.batch_bytes, self.convolution_operations):
            if not 0 <= work <= _MAX_WORK:
                raise InvalidInputError(
                    f"a kernel's operations and bytes are 0 to {_MAX_WORK:g}, not {short_repr(work)}"
                )


def winograd_saving(
    in_size: Sequence[int], out_size: Sequence[int], kernel_size: Sequence[int], groups: int
) -> float:
    """By how much libraries lower the operations of a convolution between images of these sides."""
    applies = tuple(kernel_size) == (3, 3) and tuple(in_size) == tuple(out_size) and groups == 1
    return _WINOGRAD_SAVING if applies else 1.0


def on_tensor_cores(operations: float, groups: int) -> float:
    """Of a convolution's operations those that tensor cores can do: all, where nothing is in groups."""
    return operations if groups == 1 else 0.0


def convolution(
    in_channels: int, in_size: int, out_channels: int, out_size: int, kernel_size: int, groups: int = 1
) -> KernelWork:
    """A convolution between square images of `in_size` and `out_size` pixels a side."""
    results = out_channels * out_size**2
    weights = out_channels * (in_channels // groups) * kernel_size**2
    saving = winograd_saving((in_size,) * 2, (out_size,) * 2, (kernel_size,) * 2, groups)
    operations = 2 * weights * out_size**2
    return KernelWork(
        operations=operations / saving,
        results=results,
        item_bytes=_BYTES * (in_channels * in_size**2 + results),
        batch_bytes=_BYTES * weights,
        convolution_operations=on_tensor_cores(operations, groups),
    )


def linear(in_features: int, out_features: int) -> KernelWork:
    """A fully connected layer."""
    return KernelWork(
        operations=2 * in_features * out_features,
        results=out_features,
        item_bytes=_BYTES * (in_features + out_features),
        batch_bytes=_BYTES * in_features * out_features,
    )


def elementwise(elements: int, inputs: int = 1) -> KernelWork:
    """An activation, a normalisation, or a sum of `inputs` tensors of `elements` numbers each."""
    return KernelWork(
        operations=elements * inputs, results=elements, item_bytes=_BYTES * elements * (inputs + 1)
    )
