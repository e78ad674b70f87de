import os

import numpy as np

from kneescale_worker.artefact import ModelMetadata
from kneescale_worker.batch_memory import BatchMemory
from kneescale_worker.tensors import TensorSpec

_METADATA = ModelMetadata(
    "test",
    (TensorSpec("a", "FP32", (-1, 3)), TensorSpec("b", "UINT8", (-1,))),
    (TensorSpec("c", "INT64", (-1, 2, 2)),),
)


def test_tensors_of_a_batch_lie_side_by_side_and_never_on_each_other() -> None:
    memory = BatchMemory.create(_METADATA, 8)
    arrays = [*memory.inputs(8), *memory.outputs(8)]
    for value, array in enumerate(arrays, 1):
        array[:] = value
    assert [np.unique(array).tolist() for array in arrays] == [[1], [2], [3]]
    assert [array.shape for array in arrays] == [(8, 3), (8,), (8, 2, 2)]


def test_who_gets_the_descriptor_sees_the_same() -> None:
    memory = BatchMemory.create(_METADATA, 8)
    memory.inputs(2)[0][:] = [[1, 2, 3], [4, 5, 6]]
    other = BatchMemory(os.dup(memory.descriptor), _METADATA, 8)
    assert other.inputs(2)[0].tolist() == [[1, 2, 3], [4, 5, 6]]
