"""What is told of claims that nobody holds, and for how long that is waited for."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.leaks import leaks, wait_until_tidy
from tests.cluster.recording_runner import RecordingRunner

NO_NODES = cast("LocalCluster", SimpleNamespace(nodes=list))


def kubectl(pods: Sequence[Any], claims: Callable[[Sequence[str]], str] | str) -> Kubectl:
    runner = RecordingRunner({"get pods": listed(*pods), "get resourceclaims": claims})
    return Kubectl(Path("kubectl"), Path("kubeconfig"), runner)


def listed(*objects: Any) -> str:  # noqa: ANN401
    return json.dumps({"items": objects})


def pod(uid: str) -> Mapping[str, Any]:
    return {"kind": "Pod", "metadata": {"namespace": "shop", "name": uid, "uid": uid}, "spec": {}}


def claim(*holders: str) -> Mapping[str, Any]:
    metadata = {"namespace": "shop", "name": "vgg19-1", "uid": "claim-1"}
    status = {"reservedFor": [{"uid": uid} for uid in holders]}
    return {"kind": "ResourceClaim", "metadata": metadata, "status": status}


@pytest.mark.parametrize(
    ("holders", "told"),
    [(("new",), False), (("gone", "new"), False), ((), True), (("gone",), True)],
)
def test_a_claim_is_left_over_where_no_pod_that_there_is_holds_it(
    holders: tuple[str, ...], told: bool
) -> None:
    found = leaks(NO_NODES, kubectl([pod("new")], listed(claim(*holders))))
    assert found == (["ResourceClaim shop/vgg19-1 is reserved for no pod"] if told else [])


def test_what_was_left_over_when_time_was_up_is_told_though_a_later_look_would_find_nothing() -> None:
    looks = iter([listed(claim("gone"))])
    with pytest.raises(TimeoutError, match=r"not so after 0 s: ResourceClaim shop/vgg19-1 is reserved"):
        wait_until_tidy(NO_NODES, kubectl([], lambda _: next(looks, listed())), timeout_s=0.0)
