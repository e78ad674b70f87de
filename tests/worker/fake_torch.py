"""As much of torch as the CUDA executor uses, on numpy: notes which stream each thing happened on."""

import contextlib
import os
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: What torch has a type for, and this has none.
Unknown: TypeAlias = Any
channels_last = "channels_last"


class Tensor:
    """An array that knows where it is."""

    def __init__(self, array: NDArray[Any], device: str, *, pinned: bool = False) -> None:
        self.array, self.device, self.pinned = array, device, pinned
        self.shape, self.dtype = array.shape, array.dtype

    def pin_memory(self) -> "Tensor":
        return Tensor(self.array, self.device, pinned=True)

    def to(self, device: str, *, non_blocking: bool) -> "Tensor":
        assert non_blocking <= self.pinned, "a copy from pageable memory makes the host wait"
        return Tensor(self.array.copy(), device)

    def contiguous(self, memory_format: str) -> "Tensor":
        assert memory_format == channels_last
        return self

    def copy_(self, other: "Tensor", *, non_blocking: bool) -> "Tensor":
        assert non_blocking
        assert self.pinned
        torch_now().mine.pending.append(lambda: np.copyto(self.array, other.array))
        return self

    def numpy(self) -> NDArray[Any]:
        assert self.device == "cpu"
        return self.array


class _OfThread(threading.local):
    """A thread's current stream, 0 for none, and its copies that have not arrived."""

    def __init__(self) -> None:
        self.stream = 0
        self.pending: list[Callable[[], None]] = []


class FakeTorch(types.ModuleType):
    """`model` stands for every module that is loaded; `ran` lists (stream, module, items) of each call.

    `sizes` has the items of each call by thread.
    `sticky` is an error of a kernel, which CUDA tells at every wait from then on.
    """

    def __init__(self, model: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        super().__init__("torch")
        self.model = model
        self.ran: list[tuple[int, int, int]] = []
        self.loaded = 0
        self.sticky = ""
        self.host_threads = os.cpu_count()
        self.sizes: dict[int, list[int]] = {}
        self.mine = _OfThread()
        self.pools: list[str] = []
        self.channels_last = channels_last
        self.jit = types.SimpleNamespace(
            load=self._load,
            Error=type("Error", (Exception,), {}),
            optimized_execution=contextlib.nullcontext,
        )
        self.cuda = types.SimpleNamespace(
            ExternalStream=self._external,
            stream=self._stream,
            synchronize=lambda: None,
            MemPool=lambda: f"pool{len(self.pools)}",
            use_mem_pool=self._use_pool,
        )
        global _now
        _now = self

    def set_num_threads(self, count: int) -> None:
        self.host_threads = count

    def zeros(self, size: int, device: str) -> Tensor:
        return Tensor(np.zeros(size), device)

    def empty(self, shape: Unknown, dtype: Unknown, *, pin_memory: bool) -> Tensor:
        return Tensor(np.full(shape, 77, dtype), "cpu", pinned=pin_memory)

    def from_numpy(self, array: NDArray[Any]) -> Tensor:
        return Tensor(array, "cpu")

    @contextlib.contextmanager
    def inference_mode(self) -> Iterator[None]:
        yield

    def _load(self, path: str, map_location: str) -> Unknown:
        if not Path(path).exists():
            raise RuntimeError(f"open file failed: {path}\nmore lines")
        assert map_location == "cuda:0"
        number, self.loaded = self.loaded, self.loaded + 1

        def module(*tensors: Tensor) -> Tensor:
            assert all(tensor.device == "cuda:0" for tensor in tensors)
            items = len(tensors[0].array)
            self.ran.append((self.mine.stream, number, items))
            self.sizes.setdefault(threading.get_ident(), []).append(items)
            return Tensor(self.model(tensors[0].array), "cuda:0")

        module.eval = lambda: module  # type: ignore[attr-defined]
        module.to = lambda memory_format: module  # type: ignore[attr-defined]
        return module

    def _external(self, handle: int, device: str) -> Unknown:
        assert device == "cuda:0"
        return types.SimpleNamespace(handle=handle, synchronize=self._arrive)

    def _arrive(self) -> None:
        if self.sticky:
            raise RuntimeError(f"{self.sticky}\nmore lines")
        for copy in self.mine.pending:
            copy()
        self.mine.pending.clear()

    @contextlib.contextmanager
    def _stream(self, stream: Unknown) -> Iterator[None]:
        self.mine.stream = stream.handle
        yield
        self.mine.stream = 0

    @contextlib.contextmanager
    def _use_pool(self, pool: str) -> Iterator[None]:
        self.pools.append(pool)
        yield


_now: FakeTorch


def torch_now() -> FakeTorch:
    """The one that was made last."""
    return _now
