"""Claims of a node whose GPU is in SM partitions: what is asked for while they are there, and no longer."""

import json
import os
from pathlib import Path

import pytest

from kneescale.agent.cuda_mps import CudaMpsBackend
from kneescale.agent.dra import ClaimPreparer
from kneescale.agent.node_state import NodeState
from kneescale.core.tiers import Tier
from kneescale.mps.partition_files import PartitionFiles
from tests.agent.agent_process import settings_below
from tests.agent.builders import allocated_claim, claim_uid
from tests.agent.fake_cluster_api import FakeClusterApi
from tests.agent.fake_gpu_library import A100, FakeGpuLibrary, gpu, looked_at


@pytest.fixture
def files(tmp_path: Path) -> PartitionFiles:
    return PartitionFiles(settings_below(tmp_path).state_dir, A100)


def started(folder: Path, *, away: bool = False) -> ClaimPreparer:
    """What an agent prepares claims with, begun from the checkpoint that is there."""
    settings = settings_below(folder)
    monitor = looked_at(FakeGpuLibrary(gpu()))
    backend = CudaMpsBackend(monitor, settings.state_dir, os.getuid(), Tier.SM_PARTITIONS)
    state = NodeState({}, settings.checkpoint_path, backend.devices)
    state.restore()
    api = FakeClusterApi()
    for name, clients in (("a", "3"), ("b", "5")):
        claim = allocated_claim(name, device="gpu-aaaaaaaa", lanes=[10])
        (result,) = claim["status"]["allocation"]["devices"]["results"]
        result["consumedCapacity"] = {"memory": "1Gi", "clients": clients}
        api.claims["default", name] = claim
    api.away = away
    preparer = ClaimPreparer(settings, backend, api, state)
    preparer.tidy()
    return preparer


def prepare(preparer: ClaimPreparer, name: str) -> None:
    preparer.prepare("default", name, claim_uid(name))


def test_a_claim_asks_for_its_clients_as_chunks_until_it_is_unprepared(
    tmp_path: Path, files: PartitionFiles
) -> None:
    preparer = started(tmp_path)
    prepare(preparer, "a")
    prepare(preparer, "b")
    assert files.asked() == {claim_uid("a"): 3, claim_uid("b"): 5}
    for _ in range(2):
        preparer.unprepare(claim_uid("a"))
        assert files.asked() == {claim_uid("b"): 5}


def test_what_an_older_agent_did_not_keep_of_a_claim_is_read_anew(
    tmp_path: Path, files: PartitionFiles
) -> None:
    prepare(started(tmp_path), "a")
    path = settings_below(tmp_path).checkpoint_path
    kept = json.loads(path.read_text())
    for claim in kept["claims"]:
        del claim["memoryBytes"], claim["clients"]
    path.write_text(json.dumps({**kept, "version": 1}))
    prepare(started(tmp_path, away=True), "a")
    assert files.asked() == {claim_uid("a"): 1}
    prepare(started(tmp_path), "a")
    assert files.asked() == {claim_uid("a"): 3}
    prepare(started(tmp_path, away=True), "a")
    assert files.asked() == {claim_uid("a"): 3}


def test_a_restarted_agent_asks_for_what_its_claims_have_and_for_no_other(
    tmp_path: Path, files: PartitionFiles
) -> None:
    prepare(started(tmp_path), "a")
    files.ask("00-of-a-claim-that-is-no-more", 7, os.getuid())
    started(tmp_path)
    assert files.asked() == {claim_uid("a"): 3}
