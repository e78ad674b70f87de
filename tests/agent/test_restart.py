"""An agent that is killed leaves nothing that the next one does not find again, API server or not."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kneescale.agent.proto import dra_v1_pb2 as dra
from tests.agent.builders import allocated_claim, claim_uid, partition, schedule
from tests.agent.fake_kubelet import FakeKubelet
from tests.agent.fake_worker import FakeWorker
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
A = dra.Claim(namespace="default", name="a", uid=claim_uid("a"))

StartAgent = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start_agent(short_dir: Path) -> Iterator[StartAgent]:
    started: list[subprocess.Popen[bytes]] = []

    def start(program: str = "agent_process") -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", f"tests.agent.{program}", str(short_dir)]
        started.append(subprocess.Popen(command, cwd=ROOT))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def socket_path(short_dir: Path) -> Path:
    """The grant socket of claim a, which is allocated and scheduled."""
    api = short_dir / "api"
    api.mkdir()
    (api / "claim-a.json").write_text(json.dumps(allocated_claim("a")))
    (api / "schedule-gpu0.json").write_text(json.dumps(schedule([partition("a")])))
    return short_dir / "state" / "claims" / A.uid / "dispatcher.sock"


def _prepare(short_dir: Path) -> dra.NodePrepareResourceResponse:
    kubelet = FakeKubelet(short_dir / "kubelet")
    kubelet.register()
    answer = kubelet.prepare(A)[A.uid]
    kubelet.close()
    return answer


def test_workers_come_back_after_a_kill_though_the_api_server_is_away(
    short_dir: Path, socket_path: Path, start_agent: StartAgent
) -> None:
    first = start_agent()
    answer = _prepare(short_dir)
    with FakeWorker(socket_path) as worker:
        worker.hello()
        worker.arrive(16)
        worker.next_grant()
        first.kill()
        worker.wait_for_hang_up()
    folder = socket_path.parent.stat().st_ino
    shutil.rmtree(short_dir / "api")
    start_agent()
    with FakeWorker(socket_path) as worker:
        worker.hello()
        worker.arrive(16)
        assert worker.next_grant().batch > 0
    assert socket_path.parent.stat().st_ino == folder, "the folder is mounted: it must stay the same"
    assert _prepare(short_dir) == answer


def test_a_claim_that_was_deleted_while_no_agent_ran_is_taken_back(
    short_dir: Path, socket_path: Path, start_agent: StartAgent
) -> None:
    first = start_agent()
    _prepare(short_dir)
    first.kill()
    (short_dir / "api" / "claim-a.json").unlink()
    start_agent()
    wait_until(lambda: not socket_path.parent.exists(), "the folder of the claim that is no more to go")


def test_a_terminated_agent_ends_cleanly_and_leaves_its_sockets(
    short_dir: Path, socket_path: Path, start_agent: StartAgent
) -> None:
    process = start_agent()
    _prepare(short_dir)
    with FakeWorker(socket_path) as worker:
        worker.hello()
        process.terminate()
        worker.wait_for_hang_up()
    assert process.wait(20) == 0
    assert socket_path.exists()


def test_an_agent_whose_dispatcher_is_stuck_ends_itself(
    start_agent: StartAgent, capfd: pytest.CaptureFixture[str]
) -> None:
    assert start_agent("stuck_agent").wait(60) == 1
    # A traceback would end it so, too.
    assert re.search(r"the dispatcher of gpu\d is stuck.*; the agent ends", capfd.readouterr().err)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"KNEESCALE_BACKEND": "cpu"}, "set KNEESCALE_NODE_NAME to the name of this node"),
        ({"KNEESCALE_NODE_NAME": "n", "KNEESCALE_BACKEND": "emulated", "KUBECONFIG": "/none"}, "no cluster"),
    ],
)
def test_a_wrong_start_is_one_line_and_exit_status_2(environ: dict[str, str], message: str) -> None:
    command = [sys.executable, "-m", "kneescale.agent"]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1
