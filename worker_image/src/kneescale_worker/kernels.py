"""What a model's kernels have to do, read from the operators that it dispatches while a few items run.

So it is the same for models that were scripted, traced or frozen, and sees what is launched, not what was
written: fused operators, copies between layouts, unrolled loops. Each operator counts as one kernel.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from kneescale.core.surfaces.kernel_work import KernelWork, on_tensor_cores, winograd_saving
from kneescale_worker.errors import LoadError

#: What torch gives has no types here.
_Torch: TypeAlias = Any

#: Batches that are compared: what grows with them belongs to the items, the rest to the batch. A batch of one
#: would not do, for it can go without copies that all others need.
_BATCHES = (2, 3)
_MORE_ITEMS = _BATCHES[1] - _BATCHES[0]
_CONVOLUTIONS = ("convolution", "_convolution")
#: Which of a convolution's arguments it is.
_GROUPS = 8
#: Whole layers in one operator, which torch.utils.flop_counter does not know.
_TRANSFORMER_LAYERS = ("_native_multi_head_attention", "_transformer_encoder_layer_fwd")
#: Operators that only reserve memory.
_RESERVING = ("empty", "new_empty")


@dataclass(frozen=True, slots=True)
class _Launch:
    """One kernel as it ran, for all of its batch."""

    operator: str
    operations: float
    convolution_operations: float
    results: int
    moved_bytes: int


def read_kernels(
    module: Callable[..., object], inputs_of: Callable[[int], Sequence[_Torch]]
) -> list[KernelWork]:
    """The kernels of a model, in the order of their launch; `inputs_of(n)` makes a batch of n items.

    Matrix products, convolutions and attention are counted as torch.utils.flop_counter does, everything else
    as one operation for each number that is read. Raises LoadError where batches of different sizes launch
    different operators, or none.
    """
    small, large = (_launches(module, inputs_of(batch)) for batch in _BATCHES)
    if [launch.operator for launch in small] != [launch.operator for launch in large]:
        sizes = " and ".join(map(str, _BATCHES))
        raise LoadError(f"its kernels cannot be read: batches of {sizes} items launch different ones")
    if not small:
        raise LoadError("it launches no kernels that could be read")
    return [_per_item(*pair) for pair in zip(small, large, strict=True)]


def _launches(module: Callable[..., object], inputs: Sequence[_Torch]) -> list[_Launch]:
    with (
        # Under inference_mode operators would show that are none yet, but made of others.
        torch.no_grad(),
        # Else TorchScript fuses some for these shapes, which no GPU is asked to run, and takes minutes for a
        # DenseNet-201.
        torch.jit.optimized_execution(False),
        # oneDNN would run a whole LSTM as one operator.
        torch.backends.mkldnn.flags(enabled=False),
        _Recorder() as recorder,
    ):
        module(*inputs)
    launches: list[_Launch] = recorder.launches
    return launches


def _per_item(small: _Launch, large: _Launch) -> KernelWork:
    item_bytes = max(0, (large.moved_bytes - small.moved_bytes) // _MORE_ITEMS)
    return KernelWork(
        operations=_more(small.operations, large.operations),
        convolution_operations=_more(small.convolution_operations, large.convolution_operations),
        results=max(1, (large.results - small.results) // _MORE_ITEMS),
        item_bytes=item_bytes,
        batch_bytes=max(0, small.moved_bytes - _BATCHES[0] * item_bytes),
    )


def _more(small: float, large: float) -> float:
    return max(0.0, (large - small) / _MORE_ITEMS)


class _Recorder(TorchDispatchMode):  # type: ignore[misc]  # torch is in the image, not in the venv
    """Records each operator that launches a kernel, whether Python or TorchScript's interpreter calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.launches: list[_Launch] = []

    def __torch_dispatch__(
        self,
        operator: _Torch,
        _types: object,
        args: Sequence[_Torch] = (),
        kwargs: Mapping[str, _Torch] | None = None,
    ) -> object:
        given = dict(kwargs or {})
        # By itself torch takes many seconds for a depthwise convolution.
        with torch.backends.mkldnn.flags(enabled=True):
            result = operator(*args, **given)
        taken, made = list(_tensors((args, given))), list(_tensors(result))
        if made and not _is_view(operator, taken, made[0]):
            operations, convolution_operations = _operations(operator, args, given, result)
            self.launches.append(
                _Launch(
                    operator=_name(operator),
                    operations=operations,
                    convolution_operations=convolution_operations,
                    results=made[0].numel(),
                    moved_bytes=sum(tensor.numel() * tensor.element_size() for tensor in (*taken, *made)),
                )
            )
        return result


def _tensors(tree: object) -> Iterator[_Torch]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor))


def _is_view(operator: _Torch, taken: Iterable[_Torch], made: _Torch) -> bool:
    """Whether no kernel runs: the result is reserved memory, or an argument's in another shape."""
    if operator._schema.is_mutable:
        return False
    if _name(operator).startswith(_RESERVING):
        return True
    return made.untyped_storage().data_ptr() in {tensor.untyped_storage().data_ptr() for tensor in taken}


def _operations(
    operator: _Torch, args: Sequence[_Torch], kwargs: Mapping[str, _Torch], result: _Torch
) -> tuple[float, float]:
    """Those that it takes, and, of a convolution, those that tensor cores would do."""
    if _name(operator) in _TRANSFORMER_LAYERS:
        return _transformer_operations(args), 0.0
    formula = flop_registry.get(operator.overloadpacket)
    if formula is None:
        return float(sum(tensor.numel() for tensor in _tensors((args, kwargs)))), 0.0
    operations = float(formula(*args, **kwargs, out_val=result))
    if _name(operator) not in _CONVOLUTIONS:
        return operations, 0.0
    return operations / _saving(args, result), on_tensor_cores(operations, args[_GROUPS])


def _transformer_operations(args: Sequence[_Torch]) -> float:
    """Each item's rows by each weight; and twice, for scores and for values, by each other."""
    items, rows, width = args[0].shape
    weights = sum(tensor.numel() for tensor in _tensors(args) if tensor.dim() == 2)
    return float(2 * items * rows * (weights + 2 * rows * width))


def _saving(args: Sequence[_Torch], result: _Torch) -> float:
    """Of a convolution's operations, so many times fewer are done.

    `args`: input, weight, bias, stride, padding, dilation, transposed, output_padding, groups, ...
    """
    images, weight, dilation, groups = args[0], args[1], args[5], args[_GROUPS]
    kernel_size = [(side - 1) * apart + 1 for side, apart in zip(weight.shape[2:], dilation, strict=True)]
    return winograd_saving(images.shape[2:], result.shape[2:], kernel_size, groups)


def _name(operator: _Torch) -> str:
    name: str = operator.overloadpacket.__name__
    return name
