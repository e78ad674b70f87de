"""The CUDA executor on stand-ins for torch and the driver; nothing here has seen a GPU."""

import importlib
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Barrier
from typing import Any, NoReturn, TypeAlias

import numpy as np
import pytest

from kneescale_worker.errors import ContextLostError, LoadError
from kneescale_worker.green_contexts import GreenContextLanes
from kneescale_worker.lanes import Lanes
from kneescale_worker.mps_contexts import MpsContextLanes
from kneescale_worker.tensors import Array
from tests.worker.fake_driver import FakeDriver
from tests.worker.fake_torch import FakeTorch

_TENSOR = {"datatype": "FP32", "shape": [-1, 3]}
#: The executor's class is not importable without a torch.
CudaExecutor: TypeAlias = Any
MakeExecutor = Callable[..., CudaExecutor]


def _twice(array: Array) -> Array:
    return 2 * array


def _fails(_: Array) -> NoReturn:
    raise RuntimeError("shape is invalid")


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> FakeTorch:
    fake = FakeTorch(_twice)
    monkeypatch.setitem(sys.modules, "torch", fake)
    monkeypatch.delitem(sys.modules, "kneescale_worker.cuda_executor", raising=False)
    return fake


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    metadata = {"inputs": [{"name": "x", **_TENSOR}], "outputs": [{"name": "y", **_TENSOR}]}
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    (tmp_path / "model.pt").touch()
    return tmp_path


@pytest.fixture
def make_executor(torch: FakeTorch, model_dir: Path) -> MakeExecutor:
    module = importlib.import_module("kneescale_worker.cuda_executor")
    assert module.torch is torch

    def make(lanes: Lanes, at_once: int = 1) -> CudaExecutor:
        return module.CudaExecutor(model_dir, lanes, max_batch=4, at_once=at_once)

    return make


def _loaded(executor: CudaExecutor) -> CudaExecutor:
    executor.load()
    executor.warm_up()
    return executor


def test_a_batch_comes_back_when_its_copies_have_arrived(make_executor: MakeExecutor) -> None:
    executor = _loaded(make_executor(GreenContextLanes(FakeDriver(80, 2), (20, 100))))
    (output,) = executor.run(20, [np.ones((4, 3), np.float32)])
    assert output.tolist() == [[2, 2, 2]] * 4
    assert dict(executor.lane_sms) == {20: 16, 100: 80}


def test_an_error_of_the_model_is_its_batchs_alone(make_executor: MakeExecutor, torch: FakeTorch) -> None:
    executor = _loaded(make_executor(GreenContextLanes(FakeDriver(80, 2), (100,))))
    torch.model = _fails
    with pytest.raises(RuntimeError, match="shape is invalid"):
        executor.run(100, [np.ones((1, 3), np.float32)])


def test_an_error_that_stays_with_the_context_is_the_loss_of_it(
    make_executor: MakeExecutor, torch: FakeTorch
) -> None:
    executor = _loaded(make_executor(GreenContextLanes(FakeDriver(80, 2), (100,))))
    torch.sticky = "CUDA error: device-side assert triggered"
    with pytest.raises(ContextLostError, match=r"context is lost: .*device-side assert triggered$"):
        executor.run(100, [np.ones((1, 3), np.float32)])


def test_a_context_that_the_driver_takes_no_more_is_lost(make_executor: MakeExecutor) -> None:
    driver = FakeDriver(80)
    executor = _loaded(make_executor(MpsContextLanes(driver, (20, 50))))
    driver.fails = "pop"
    with pytest.raises(ContextLostError, match="context is lost: pop failed"):
        executor.run(50, [np.ones((1, 3), np.float32)])


def test_a_model_that_costs_the_context_does_not_run_on_zeros(
    make_executor: MakeExecutor, torch: FakeTorch
) -> None:
    executor = make_executor(GreenContextLanes(FakeDriver(80, 2), (100,)))
    executor.load()
    torch.sticky = "CUDA error: an illegal memory access was encountered"
    with pytest.raises(LoadError, match=r"does not run on a batch of zeros: .*illegal memory access"):
        executor.warm_up()


def test_every_lane_is_warmed_up_on_a_stream_of_its_own(
    make_executor: MakeExecutor, torch: FakeTorch
) -> None:
    _loaded(make_executor(GreenContextLanes(FakeDriver(80, 2), (20, 50, 100))))
    sizes: dict[int, set[int]] = {}
    for stream, _, items in torch.ran:
        sizes.setdefault(stream, set()).add(items)
    assert len(sizes) == 3
    assert all(of_one >= {1, 2, 4} for of_one in sizes.values())
    assert 0 not in sizes


def test_no_size_of_a_batch_is_new_when_it_serves(make_executor: MakeExecutor, torch: FakeTorch) -> None:
    _loaded(make_executor(GreenContextLanes(FakeDriver(80, 2), (20, 100))))
    assert {items for _, _, items in torch.ran} == {1, 2, 3, 4}


def test_no_size_is_new_to_the_thread_that_runs_it(make_executor: MakeExecutor, torch: FakeTorch) -> None:
    executor = _loaded(make_executor(GreenContextLanes(FakeDriver(80, 2), (50, 100)), at_once=2))
    warm = {thread: set(sizes) for thread, sizes in torch.sizes.items()}
    together = Barrier(2)

    def both_at_once(array: Array) -> Array:
        together.wait()
        return array

    torch.model = both_at_once
    with ThreadPoolExecutor(2) as callers:
        list(callers.map(lambda n: executor.run(50, [np.ones((n, 3), np.float32)]), (2, 3)))
    assert list(warm.values()) == [{1, 2, 3, 4}, {1, 2, 3, 4}]
    assert set(torch.sizes) == set(warm)


def test_a_size_that_there_was_no_time_for_runs_as_the_next_warm_one(
    make_executor: MakeExecutor, torch: FakeTorch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kneescale_worker.warm_up._LONGEST_S", 0.0)
    executor = _loaded(make_executor(GreenContextLanes(FakeDriver(80, 2), (100,))))
    (output,) = executor.run(100, [np.ones((3, 3), np.float32)])
    assert output.tolist() == [[2, 2, 2]] * 3
    assert torch.ran[-1][2] == 4


def test_all_threads_have_ended_their_batches_when_a_warm_up_fails(
    make_executor: MakeExecutor, torch: FakeTorch
) -> None:
    executor = make_executor(GreenContextLanes(FakeDriver(80, 2), (50, 100)), at_once=2)
    executor.load()
    calls, ran = count(), []

    def second_fails(array: Array) -> Array:
        if next(calls) == 1:
            raise RuntimeError("shape is invalid")
        ran.append(len(array))
        return 2 * array

    torch.model = second_fails
    with pytest.raises(LoadError, match="shape is invalid"):
        executor.warm_up()
    assert set(ran) == {1, 2, 3, 4}


def test_no_size_is_new_to_any_context(make_executor: MakeExecutor, torch: FakeTorch) -> None:
    _loaded(make_executor(MpsContextLanes(FakeDriver(80), (20, 20, 50))))
    assert {(home, items) for _, home, items in torch.ran} == {
        (h, n) for h in (0, 1, 2) for n in (1, 2, 3, 4)
    }


def test_torch_takes_no_threads_for_its_copies(make_executor: MakeExecutor, torch: FakeTorch) -> None:
    _loaded(make_executor(GreenContextLanes(FakeDriver(80, 2), (100,))))
    assert torch.host_threads == 1


def test_green_contexts_share_one_copy_of_the_weights(make_executor: MakeExecutor, torch: FakeTorch) -> None:
    _loaded(make_executor(GreenContextLanes(FakeDriver(80, 2), (20, 50))))
    assert torch.loaded == 1
    assert torch.pools == []


def test_each_mps_context_has_weights_and_memory_of_its_own(
    make_executor: MakeExecutor, torch: FakeTorch
) -> None:
    driver = FakeDriver(80)
    executor = _loaded(make_executor(MpsContextLanes(driver, (20, 20, 50))))
    assert torch.loaded == 3
    executor.run(50, [np.ones((1, 3), np.float32)])
    assert torch.ran[-1][1] == 2
    assert driver.current == []


def test_a_model_that_cannot_be_read_says_why_in_a_line(make_executor: MakeExecutor, model_dir: Path) -> None:
    (model_dir / "model.pt").unlink()
    with pytest.raises(LoadError, match=r"cannot load .*model\.pt: open file failed: \S+$"):
        make_executor(GreenContextLanes(FakeDriver(80, 2), (20,))).load()


def test_a_model_that_answers_something_else_says_so(make_executor: MakeExecutor, torch: FakeTorch) -> None:
    torch.model = lambda array: array[:, :2]
    executor = make_executor(GreenContextLanes(FakeDriver(80, 2), (20,)))
    executor.load()
    with pytest.raises(LoadError, match=r"output 'y' is float32 \[1, 2\]; metadata.json says FP32 \[-1, 3\]"):
        executor.warm_up()
