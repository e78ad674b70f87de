from contextlib import nullcontext

import numpy as np
import pytest

from kneescale.core.errors import InvalidInputError
from kneescale_worker import dataplane
from kneescale_worker.artefact import ModelMetadata
from kneescale_worker.dataplane import DataPlane, InferCall, State
from kneescale_worker.errors import UnavailableError
from kneescale_worker.queue import ItemQueue
from kneescale_worker.tensors import Array, TensorSpec

_METADATA = ModelMetadata(
    "test",
    (TensorSpec("image", "FP32", (-1, 3)), TensorSpec("size", "INT64", (-1, 1))),
    (TensorSpec("logits", "FP32", (-1, 5)), TensorSpec("box", "FP32", (-1, 4))),
)


class _Rig:
    def __init__(self) -> None:
        self.queue = ItemQueue(limit=8)
        self.announced: list[tuple[int, int]] = []
        self.plane = DataPlane("m", _METADATA, self.queue, self._announce, emulated=False)
        self.plane.state = State.SERVING

    def _announce(self, items: int, arrived_ns: int) -> None:
        self.announced.append((items, arrived_ns))
        for part in self.queue.take(items):
            outputs = [np.ones((items, 5), np.float32), np.zeros((items, 4), np.float32)]
            assert part.request.deliver(part.start, outputs)
            part.request.finish()


def _inputs(items: int = 2) -> dict[str, Array]:
    return {"image": np.zeros((items, 3), np.float32), "size": np.zeros((items, 1), np.int64)}


def _call(
    inputs: dict[str, Array], outputs: tuple[str, ...] = (), *, as_values: frozenset[str] = frozenset()
) -> InferCall:
    return InferCall("1", inputs, outputs, as_values.__contains__)


async def test_outputs_come_in_the_order_asked_for() -> None:
    rig = _Rig()
    answer = await rig.plane.infer(_call(_inputs(), ("box", "logits")), arrived_ns=7)
    assert list(answer.outputs) == ["box", "logits"]
    assert (await rig.plane.infer(_call(_inputs()), 8)).outputs.keys() == {"logits", "box"}
    assert rig.announced == [(2, 7), (2, 8)]


@pytest.mark.parametrize(
    ("change", "outputs", "says"),
    [
        (
            {"image": np.zeros((2, 4), np.float32)},
            (),
            r"shape \[2, 4\]; the model takes \[-1, 3\]",
        ),
        ({"image": np.zeros((2, 3))}, (), "'image' is FP64; the model takes FP32"),
        ({"image": None}, (), r"'image' is missing; it is FP32 \[-1, 3\]"),
        ({"mask": np.zeros((2, 3))}, (), "unknown input 'mask'; the model takes 'image', 'size'"),
        ({"size": np.zeros((1, 1), np.int64)}, (), "differ in their first dimension.*'image' 2, 'size' 1"),
        ({}, ("lips",), "unknown output 'lips'; the model answers 'logits', 'box'"),
        (_inputs(9), (), "a request should have 1 to 8 items, not 9"),
        (_inputs(0), (), "a request should have 1 to 8 items, not 0"),
    ],
)
async def test_a_wrong_call_says_what_to_change(
    change: dict[str, Array | None], outputs: tuple[str, ...], says: str
) -> None:
    rig = _Rig()
    inputs = {name: array for name, array in {**_inputs(), **change}.items() if array is not None}
    with pytest.raises(InvalidInputError, match=says):
        await rig.plane.infer(_call(inputs, outputs), 0)
    assert rig.announced == []


@pytest.mark.parametrize(
    ("outputs", "as_values", "is_run"),
    [
        ((), {"logits", "box"}, False),
        ((), {"logits"}, False),
        ((), {"box"}, True),
        ((), set(), True),
        (("box",), {"logits", "box"}, True),
    ],
)
async def test_values_that_take_too_long_to_write_are_not_even_run(
    outputs: tuple[str, ...], as_values: set[str], is_run: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataplane, "LARGEST_VALUES", 9)
    rig = _Rig()
    refused = pytest.raises(InvalidInputError, match=r"of 1[08] values.*at most 9 are written.*binary")
    with nullcontext() if is_run else refused:
        await rig.plane.infer(_call(_inputs(), outputs, as_values=frozenset(as_values)), 0)
    assert bool(rig.announced) == is_run


async def test_nothing_is_answered_before_the_model_is_loaded() -> None:
    rig = _Rig()
    rig.plane.state = State.LOADING
    assert not rig.plane.ready
    with pytest.raises(UnavailableError, match="still loading"):
        await rig.plane.infer(_call(_inputs()), 0)
