"""TorchScript models in a worker process that has torch on its path; the test's own environment has none."""

import json
import os
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from e2e.images import cpu_torch_site
from harness.debian import MissingPackagesError
from harness.runner import CommandError
from kneescale.core.surfaces.kernel_work import KernelWork
from tests.worker.conftest import StartWorker
from tests.worker.fake_agent import FakeAgent
from tests.worker.oip import Array, InferenceServerException, grpc
from tests.worker.process import TERMS, Worker

_MODEL = "affine"
_HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def torch_site() -> Path:
    """A folder with a CPU build of torch; made once per machine, which takes a minute."""
    try:
        return cpu_torch_site()
    except (CommandError, MissingPackagesError) as error:
        pytest.skip(f"no CPU build of torch can be made here: {error}")


@pytest.fixture(scope="session")
def models(torch_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of each kind."""
    folder = tmp_path_factory.mktemp("models")
    script = [sys.executable, str(_HERE / "torch_models.py"), str(folder)]
    subprocess.run(script, check=True, env={**os.environ, "PYTHONPATH": str(torch_site)})
    return folder


@pytest.fixture
def model_env(torch_site: Path, models: Path, kind: str) -> dict[str, str]:
    """The environment of a worker with a model of this kind."""
    return {
        "PYTHONPATH": str(torch_site),
        "KNEESCALE_MODEL_NAME": _MODEL,
        "KNEESCALE_MODEL_FORMAT": "TorchScript",
        "KNEESCALE_MODEL_DIR": str(models / kind),
        "KNEESCALE_BACKEND": "cpu",
        "KNEESCALE_PRODUCT": "CPU-2x",
        "KNEESCALE_LANES": "100",
        "KNEESCALE_CORES": ",".join(str(core) for core in sorted(os.sched_getaffinity(0))),
    }


@pytest.fixture
def torch_worker(start_worker: StartWorker, model_env: dict[str, str]) -> Worker:
    worker = start_worker(env=model_env)
    worker.wait_ready()
    return worker


def _infer(worker: Worker, array: Array) -> Array:
    tensor = grpc.InferInput("x", list(array.shape), "FP32")
    tensor.set_data_from_numpy(array)
    with closing(grpc.InferenceServerClient(worker.grpc)) as client:
        answer: Array = client.infer(_MODEL, [tensor]).as_numpy("y")
    return answer


@pytest.mark.parametrize("kind", ["affine"])
def test_a_model_answers_and_a_failing_batch_harms_no_other(torch_worker: Worker) -> None:
    pictures = np.random.default_rng(0).random((6, 3, 4, 4), np.float32)
    with FakeAgent(torch_worker.socket, TERMS, generous=True):
        assert np.allclose(_infer(torch_worker, pictures), 2 * pictures + 1)
        with pytest.raises(InferenceServerException, match="the batch of this request failed"):
            _infer(torch_worker, pictures + 1000)
        assert np.allclose(_infer(torch_worker, pictures[:1]), 2 * pictures[:1] + 1)


@pytest.mark.parametrize("kind", ["affine"])
def test_a_model_answers_from_a_lane_that_is_a_process(
    start_worker: StartWorker, model_env: dict[str, str]
) -> None:
    worker = start_worker(env=model_env | {"KNEESCALE_TIER": "mps-processes"})
    # Two Pythons start, one after the other, and torch in the second.
    worker.wait_ready(60)
    pictures = np.random.default_rng(0).random((6, 3, 4, 4), np.float32)
    with FakeAgent(worker.socket, replace(TERMS, gpu_percent=100), generous=True):
        assert np.allclose(_infer(worker, pictures), 2 * pictures + 1)
        with pytest.raises(InferenceServerException, match="the batch of this request failed"):
            _infer(worker, pictures + 1000)
        assert np.allclose(_infer(worker, pictures[:1]), 2 * pictures[:1] + 1)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core has one lane")
@pytest.mark.parametrize("kind", ["affine"])
def test_lanes_that_run_at_once_have_the_threads_of_their_cores(model_env: dict[str, str]) -> None:
    cores = model_env["KNEESCALE_CORES"].split(",")[:2]
    script = [
        sys.executable,
        str(_HERE / "torch_threads.py"),
        model_env["KNEESCALE_MODEL_DIR"],
        *cores,
    ]
    output = subprocess.check_output(script, env={**os.environ, **model_env})
    assert json.loads(output) == [[1] * 5, [2] * 5]


@pytest.mark.parametrize("kind", ["affine"])
def test_a_model_is_profiled(start_worker: StartWorker, model_env: dict[str, str]) -> None:
    worker = start_worker("profile", {**model_env, "KNEESCALE_PROFILE_SECONDS": "1"})
    with FakeAgent(worker.socket, TERMS, generous=True):
        assert worker.wait() == 0
    points = worker.message()["points"]
    assert sorted((lane, batch) for lane, batch, _ in points) == [(100, 1), (100, 2), (100, 4), (100, 8)]
    assert all(latency_us > 0 for _, _, latency_us in points)
    assert "there is no prediction to compare with: no datasheet of CPU-2x" in worker.log()


@pytest.mark.parametrize("kind", ["layers"])
def test_on_a_product_with_a_datasheet_the_prediction_is_compared(
    start_worker: StartWorker, model_env: dict[str, str]
) -> None:
    on_v100 = {"KNEESCALE_PRODUCT": "V100-SXM2-16GB", "KNEESCALE_PROFILE_SECONDS": "1"}
    worker = start_worker("profile", model_env | on_v100)
    with FakeAgent(worker.socket, TERMS, generous=True):
        assert worker.wait() == 0
    assert worker.message()["predictionErrorPercent"] >= 0
    assert "predicted from its kernels" in worker.log()


@pytest.mark.parametrize("kind", ["affine"])
def test_its_kernels_and_a_datasheet_predict_a_model(model_env: dict[str, str], tmp_path: Path) -> None:
    done = _predict(model_env, tmp_path, "V100-SXM2-16GB")
    assert done.returncode == 0, done.stderr
    message = json.loads((tmp_path / "message").read_text())
    points = {(lane, batch): latency_us for lane, batch, latency_us in message["points"]}
    assert points.keys() == {(lane, batch) for lane in (10, 100) for batch in (1, 2, 4)}
    # A few kernels that do next to nothing: 20 us each for the host to launch them.
    assert 20 <= points[100, 1] <= points[10, 4] < 400
    assert message["expectedErrorPercent"] == 80


@pytest.mark.parametrize("kind", ["affine"])
def test_a_product_without_a_datasheet_cannot_be_predicted(model_env: dict[str, str], tmp_path: Path) -> None:
    assert _predict(model_env, tmp_path, "K80").returncode == 2
    assert "no datasheet of K80" in json.loads((tmp_path / "message").read_text())["error"]


def _predict(model_env: dict[str, str], folder: Path, product: str) -> subprocess.CompletedProcess[str]:
    options = [f"--product={product}", "--lanes=10,100", "--max-batch=4"]
    message = {"KNEESCALE_TERMINATION_PATH": str(folder / "message")}
    return subprocess.run(
        [sys.executable, "-m", "kneescale_worker", "predict", model_env["KNEESCALE_MODEL_DIR"], *options],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": model_env["PYTHONPATH"], **message},
        check=False,
    )


def _kernels(model_env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kneescale_worker", "kernels", model_env["KNEESCALE_MODEL_DIR"]]
    return subprocess.run(
        command, env={**os.environ, **model_env}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("kind", ["layers"])
def test_the_work_of_each_kernel_is_read_and_views_are_none(model_env: dict[str, str]) -> None:
    single = 4
    assert [KernelWork(**entry) for entry in json.loads(_kernels(model_env).stdout)] == [
        # 3 x 3, as Winograd computes it: by 2.25 fewer multiplications. Tensor cores would do all.
        KernelWork(2 * 128 * 27 / 2.25, 128, single * (48 + 128), single * (8 * 27 + 8), 2 * 128 * 27),
        KernelWork(128, 128, single * (128 + 128)),
        # In groups and with a stride: nothing is spared.
        KernelWork(2 * 32 * 18, 32, single * (128 + 32), single * (8 * 18 + 8)),
        # A copy into the layout that the next one needs.
        KernelWork(32, 32, single * (32 + 32)),
        KernelWork(2 * 48 * 32, 48, single * (32 + 48), single * (48 * 32 + 48)),
    ]


@pytest.mark.parametrize("kind", ["recurrent"])
def test_a_recurrent_layer_is_read_step_by_step(model_env: dict[str, str]) -> None:
    kernels = [KernelWork(**entry) for entry in json.loads(_kernels(model_env).stdout)]
    # All inputs at once, but the states one after the other, by weights of 4 gates x 16 x 16 each.
    steps = [kernel for kernel in kernels if kernel.operations == 2 * 4 * 16 * 16]
    assert len(steps) == 3
    assert any(kernel.operations == 3 * 2 * 4 * 16 * 16 for kernel in kernels)


@pytest.mark.parametrize("kind", ["attention"])
def test_attention_in_one_operator_is_read(model_env: dict[str, str]) -> None:
    (layer,) = (KernelWork(**entry) for entry in json.loads(_kernels(model_env).stdout))
    # 3 rows of 16 by 4 weights of 16 x 16; scores of 3 rows by 3, and as much again for the values.
    assert layer.operations == 2 * 3 * 16 * 4 * 16 + 2 * (2 * 3 * 3 * 16)


@pytest.mark.parametrize("kind", ["moody"])
def test_a_model_whose_kernels_depend_on_the_batch_says_so(model_env: dict[str, str]) -> None:
    done = _kernels(model_env)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "kneescale_worker: its kernels cannot be read: batches of 2 and 3 items launch different ones"
    )


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("broken", "cannot load"),
        ("wrong", "output 'y' is float32 [1, 4, 4]; metadata.json says FP32 [-1, 3, 4, 4]"),
    ],
)
def test_a_model_that_cannot_run_says_why(
    reason: str, start_worker: StartWorker, model_env: dict[str, str]
) -> None:
    worker = start_worker(env=model_env)
    assert worker.wait() == 2
    error = worker.message()["error"]
    assert reason in error
    assert "\n" not in error


@pytest.mark.parametrize("kind", ["affine"])
def test_a_missing_artefact_says_why(
    start_worker: StartWorker, model_env: dict[str, str], folder: Path
) -> None:
    worker = start_worker(env={**model_env, "KNEESCALE_MODEL_DIR": str(folder / "nothing")})
    assert worker.wait() == 2
    assert "metadata.json: No such file or directory" in worker.message()["error"]
