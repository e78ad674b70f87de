"""Memory that two processes share, for the tensors of one batch: no copy goes through a pipe."""

import mmap
import os
from collections.abc import Iterator, Sequence
from math import prod

import numpy as np

from kneescale.core.units import ceil_div
from kneescale_worker.artefact import ModelMetadata
from kneescale_worker.tensors import DTYPES, Array, TensorSpec

#: Tensors begin at multiples of this: no two share a cache line.
_ALIGNMENT = 64


class BatchMemory:
    """Room for the inputs and the outputs of at most `max_batch` items; views of it are arrays."""

    def __init__(self, descriptor: int, metadata: ModelMetadata, max_batch: int) -> None:
        self.descriptor = descriptor
        self._inputs, self._outputs = metadata.inputs, metadata.outputs
        self._max_batch = max_batch
        specs = (*metadata.inputs, *metadata.outputs)
        self._offsets = list(_offsets(specs, max_batch))
        size = self._offsets[-1]
        if os.fstat(descriptor).st_size < size:
            os.ftruncate(descriptor, size)
        self._map = mmap.mmap(descriptor, size)

    @classmethod
    def create(cls, metadata: ModelMetadata, max_batch: int) -> "BatchMemory":
        """New memory, in no file system; it is gone when the last process closes its descriptor."""
        return cls(os.memfd_create("kneescale-batch"), metadata, max_batch)

    def inputs(self, batch: int) -> list[Array]:
        """The inputs of a batch of so many items."""
        return self._views(self._inputs, self._offsets, batch)

    def outputs(self, batch: int) -> list[Array]:
        """Its outputs."""
        return self._views(self._outputs, self._offsets[len(self._inputs) :], batch)

    def _views(self, specs: Sequence[TensorSpec], offsets: Sequence[int], batch: int) -> list[Array]:
        return [
            np.ndarray((batch, *spec.shape[1:]), DTYPES[spec.datatype], self._map, offset)
            for spec, offset in zip(specs, offsets, strict=False)
        ]


def _offsets(specs: Sequence[TensorSpec], max_batch: int) -> Iterator[int]:
    """Where each tensor begins, and where the last one ends."""
    offset = 0
    for spec in specs:
        yield offset
        size = max_batch * prod(spec.shape[1:]) * DTYPES[spec.datatype].itemsize
        offset += ceil_div(size, _ALIGNMENT) * _ALIGNMENT
    yield offset
