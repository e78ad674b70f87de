"""Faults of a local cluster, on what stands for its processes."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from e2e.cluster.cgroups import CgroupTree, Hierarchies
from e2e.cluster.faults import Container, without_control_plane
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.cluster.node import Node


class SlowControlPlane:
    """One whose API server is not ready in time; it keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.units = SimpleNamespace(cgroups=SimpleNamespace(kill=lambda group: self.told.append("kill")))

    def start_api_server(self) -> None:
        self.told.append("start API server")

    def wait_for_api_server(self, _: Kubectl) -> None:
        raise TimeoutError("the API server is ready: not so after 120 s")

    def start_controllers(self) -> None:
        self.told.append("start controllers")


def test_controllers_are_started_though_the_api_server_is_late() -> None:
    control = SlowControlPlane()
    cluster = cast("LocalCluster", SimpleNamespace(control_plane=lambda: control))
    with suppress(TimeoutError), without_control_plane(cluster, cast("Kubectl", None)):
        control.told.append("block")
    assert control.told == ["kill", "block", "start API server", "start controllers"]


@pytest.fixture
def container(tmp_path: Path) -> Container:
    """One of two processes, 17 and 18."""
    group = tmp_path / "kns-x/node1/kubepods/pod1/c1"
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text("17\n18\n")
    tree = CgroupTree("kns-x", Hierarchies((tmp_path,), tmp_path, is_v2=True, mounted=(tmp_path,)))
    node: Any = SimpleNamespace(name="node1", units=SimpleNamespace(cgroups=tree))
    return Container(cast("Node", node), "c1")


def test_processes_that_end_with_the_first_one_do_not_save_the_others(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[tuple[int, int]] = []

    def kill(pid: int, number: int) -> None:
        if pid == 17:
            raise ProcessLookupError
        killed.append((pid, number))

    monkeypatch.setattr(os, "kill", kill)
    container.kill()
    assert killed == [(18, signal.SIGKILL)]


def test_a_container_whose_group_is_gone_has_ended(container: Container) -> None:
    assert container.exists
    ended = Container(container.node, "c2")
    assert not ended.exists
    with pytest.raises(ProcessLookupError, match="container c2 has ended"):
        ended.kill()
