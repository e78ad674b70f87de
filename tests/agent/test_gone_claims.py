"""Prepared claims that the cluster no longer has are taken back after a start; all others stay."""

from collections.abc import Mapping
from pathlib import Path
from threading import Event

import pytest

from kneescale.agent.backends import make_backend
from kneescale.agent.cluster_api import AwayError, ClusterError, Manifest, NotFoundError
from kneescale.agent.dra import ClaimPreparer
from kneescale.agent.gone_claims import GoneClaims
from kneescale.agent.node_state import NodeState
from tests.agent.agent_process import settings_below
from tests.agent.builders import NODE, allocated_claim, claim_uid
from tests.agent.fake_cluster_api import FakeClusterApi


class ApiWithoutClaims(FakeClusterApi):
    """An API server that does not serve resource.k8s.io: nothing of it is there."""

    def get_resource_claim(self, namespace: str, name: str) -> Manifest:
        raise NotFoundError("the API server said 404 Not Found")

    def list_resource_slices(self, node_name: str) -> list[Manifest]:
        raise NotFoundError("the API server said 404 Not Found")


class Node:
    """A started agent's claims, as far as they are on disk: a and b, of which b is no more in the cluster."""

    def __init__(self, folder: Path, api: FakeClusterApi, b_now: Mapping[str, Manifest]) -> None:
        settings = settings_below(folder)
        backend = make_backend(settings)
        state = NodeState({}, settings.checkpoint_path, backend.devices)
        cluster = FakeClusterApi()
        for name in ("a", "b"):
            cluster.claims["default", name] = allocated_claim(name)
        preparer = ClaimPreparer(settings, backend, cluster, state)
        for name in ("a", "b"):
            preparer.prepare("default", name, claim_uid(name))
        api.claims = {("default", "a"): allocated_claim("a")}
        api.claims |= {("default", name): claim for name, claim in b_now.items()}
        self.gone_claims = GoneClaims(api, NODE, state, preparer)
        self._claims_dir = settings.claims_dir

    def folders(self) -> set[str]:
        """The claims that have a folder."""
        return {path.name for path in self._claims_dir.iterdir()}


def another(name: str) -> Manifest:
    """A claim of that name which was made anew."""
    claim = allocated_claim(name)
    return {**claim, "metadata": {**claim["metadata"], "uid": claim_uid("new")}}


@pytest.mark.parametrize("b_now", [{}, {"b": another("b")}])
def test_a_claim_that_is_gone_or_another_is_taken_back(tmp_path: Path, b_now: dict[str, Manifest]) -> None:
    node = Node(tmp_path, FakeClusterApi(), b_now)
    node.gone_claims.run(Event())
    assert node.folders() == {claim_uid("a")}


def test_nothing_is_taken_back_while_the_api_server_is_away(tmp_path: Path) -> None:
    api = FakeClusterApi()
    node = Node(tmp_path, api, {})
    api.away = True
    with pytest.raises(AwayError):
        node.gone_claims.take_back()
    assert node.folders() == {claim_uid("a"), claim_uid("b")}


def test_nothing_is_taken_back_where_no_claim_at_all_is_served(tmp_path: Path) -> None:
    node = Node(tmp_path, ApiWithoutClaims(), {})
    with pytest.raises(ClusterError):
        node.gone_claims.take_back()
    assert node.folders() == {claim_uid("a"), claim_uid("b")}
