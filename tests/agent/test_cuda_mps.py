"""GPUs as devices: what is published of them, which are left alone, and what their workers get."""

import os
from pathlib import Path

import pytest

from kneescale.agent.backend import Mount, Share
from kneescale.agent.cuda_mps import CudaMpsBackend, product_name
from kneescale.agent.gpu_library import LibraryError, Version, XidEvent
from kneescale.agent.resource_slice import SlicePublisher
from kneescale.api.resource_slice import parse_resource_slice
from kneescale.core.tiers import Tier
from kneescale.mps.partition_files import PartitionFiles
from tests.agent.builders import NODE
from tests.agent.cuda_node import CudaNode
from tests.agent.fake_cluster_api import FakeClusterApi
from tests.agent.fake_gpu_library import A100, H100, NOT_LOADED, FakeGpuLibrary, gpu, looked_at

STATE = Path("/var/lib/kneescale")
CLAIM = "aa-1"


def _backend(library: FakeGpuLibrary, tier: Tier | None = None, state_dir: Path = STATE) -> CudaMpsBackend:
    return CudaMpsBackend(looked_at(library), state_dir, os.getuid(), tier)


def test_a_gpu_is_a_device_named_after_its_uuid() -> None:
    (device,) = _backend(FakeGpuLibrary(gpu())).devices()
    assert (device.name, device.uuid, device.product_name) == ("gpu-aaaaaaaa", A100, "A100-SXM4-40GB")
    assert (device.sm_count, device.clients, device.memory_bytes) == (108, 60, 39 * 1024**3)
    assert (device.tier, device.sickness) == (Tier.MPS_PROCESSES, "")


def test_the_slice_says_what_is_known_of_a_gpu() -> None:
    api = FakeClusterApi()
    SlicePublisher(api, NODE, _backend(FakeGpuLibrary(gpu(), cuda=Version(12, 4), driver=550))).publish()
    (published,) = api.slices.values()
    attributes = published["spec"]["devices"][0]["attributes"]
    assert attributes["computeCapability"] == {"version": "8.0.0"}
    assert attributes["driverVersion"] == {"version": "550.71.0"}
    assert attributes["cudaDriverVersion"] == {"version": "12.4.0"}
    assert (attributes["mpsProtocol"], attributes["mpsStaticPartitions"]) == ({"int": 2}, {"bool": False})
    ours = parse_resource_slice(published)
    assert ours
    (parsed,) = ours.devices()
    assert (parsed.tier, parsed.clients, parsed.backend) == (Tier.MPS_PROCESSES, 48, "cuda-mps")


@pytest.mark.parametrize(
    ("name", "product"),
    [
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-16GB", "V100-SXM2-16GB"),
        ("NVIDIA H100 80GB HBM3", "H100-SXM5-80GB"),
        ("NVIDIA H100 PCIe", "H100-PCIe-80GB"),
        ("NVIDIA L40S", "L40S"),
    ],
)
def test_products_are_named_as_in_their_datasheets(name: str, product: str) -> None:
    assert product_name(name) == product


def test_a_forced_tier_is_taken_where_the_driver_allows_it() -> None:
    (device,) = _backend(FakeGpuLibrary(gpu(), cuda=Version(12, 8)), Tier.GREEN_CONTEXTS).devices()
    assert device.tier is Tier.GREEN_CONTEXTS


def test_a_forced_tier_that_the_driver_has_not_is_a_trouble_that_says_what_it_has() -> None:
    backend = _backend(FakeGpuLibrary(gpu(), cuda=Version(12, 7)), Tier.GREEN_CONTEXTS)
    assert backend.devices() == ()
    (trouble,) = backend.troubles()
    assert trouble.reason == "TierNotPossible"
    assert "set KNEESCALE_TIER to mps-processes or mps-contexts" in trouble.message


def test_a_gpu_in_mig_mode_is_left_alone_and_says_so() -> None:
    backend = _backend(FakeGpuLibrary(gpu(A100, mig_enabled=True, core_count=0), gpu(H100)))
    assert [device.uuid for device in backend.devices()] == [H100]
    (trouble,) = backend.troubles()
    assert trouble.reason == "MigEnabled"
    assert f"label the node kneescale.dev/gpu=false, run nvidia-smi -i {A100} -mig 0" in trouble.message


def test_a_gpu_that_mps_cannot_share_is_left_alone_and_says_so() -> None:
    backend = _backend(FakeGpuLibrary(gpu(compute_capability=Version(6, 1))))
    assert backend.devices() == ()
    assert [trouble.reason for trouble in backend.troubles()] == ["GpuTooOld"]


def test_a_gpu_that_was_lost_before_the_agent_came_is_told() -> None:
    library = FakeGpuLibrary(gpu())
    library.lost = 1
    (trouble,) = _backend(library).troubles()
    assert trouble.reason == "GpuLost"
    assert "GPUs that the driver lists but cannot reach: 1" in trouble.message


def test_without_a_driver_there_are_no_devices_and_a_reason(tmp_path: Path) -> None:
    library = FakeGpuLibrary(gpu())
    library.error = NOT_LOADED
    node = CudaNode(library, tmp_path)
    assert node.troubles == [], "it may be one answer that fails"
    node.look(2)
    assert node.backend.devices() == ()
    assert [(trouble.reason, trouble.message) for trouble in node.backend.troubles()] == [
        ("DriverNotLoaded", "load the module")
    ]


def test_a_driver_without_gpus_is_a_trouble_too() -> None:
    assert [trouble.reason for trouble in _backend(FakeGpuLibrary()).troubles()] == ["NoGpus"]


def test_a_worker_gets_its_gpu_its_daemon_and_its_memory_limit() -> None:
    backend = _backend(FakeGpuLibrary(gpu()), Tier.GREEN_CONTEXTS)
    (device,) = backend.devices()
    edits = backend.container_edits(device, Share(CLAIM, 6 * 1024**3, 1))
    pipes = f"/var/lib/kneescale/mps/{A100}/pipe"
    assert edits.cdi_devices == (f"nvidia.com/gpu={A100}",)
    assert edits.env == {
        "KNEESCALE_CORES": "",
        "CUDA_MPS_PIPE_DIRECTORY": pipes,
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=6144M",
    }
    assert edits.mounts == (
        Mount(pipes, pipes, writable=True),
        Mount("/dev/shm", "/dev/shm", writable=True),
    )


def test_clients_that_are_processes_divide_the_memory() -> None:
    backend = _backend(FakeGpuLibrary(gpu()))
    (device,) = backend.devices()
    env = backend.container_edits(device, Share(CLAIM, 6 * 1024**3, 3)).env
    assert env["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=2048M"


def test_contexts_of_one_client_get_shares_of_their_own() -> None:
    backend = _backend(FakeGpuLibrary(gpu()), Tier.MPS_CONTEXTS)
    (device,) = backend.devices()
    env = backend.container_edits(device, Share(CLAIM, 6 * 1024**3, 4)).env
    assert env["CUDA_MPS_ENABLE_PER_CTX_DEVICE_MULTIPROCESSOR_PARTITIONING"] == "1"
    assert env["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=6144M"


def test_in_the_tier_of_sm_partitions_a_worker_has_chunks_of_its_own_and_finds_which(tmp_path: Path) -> None:
    backend = _backend(FakeGpuLibrary(gpu(), cuda=Version(13, 1)), Tier.SM_PARTITIONS, tmp_path)
    (device,) = backend.devices()
    assert (device.tier, device.clients) == (Tier.SM_PARTITIONS, 27)
    share = Share(CLAIM, 6 * 1024**3, 11)
    backend.reserve(device, share)
    edits = backend.container_edits(device, share)
    folder = tmp_path / "mps" / A100 / "partitions" / CLAIM
    assert (folder / "chunks").read_text() == "11"
    assert Mount(str(folder), "/run/kneescale-sm") in edits.mounts
    assert edits.env["KNEESCALE_SM_PARTITION_DIR"] == "/run/kneescale-sm"
    assert edits.env["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=6144M"
    backend.release_others({CLAIM})
    assert folder.exists()
    backend.release_others(())
    assert not folder.exists()


def test_a_claim_on_a_gpu_that_is_away_leaves_no_sms_reserved_for_when_it_is_back(tmp_path: Path) -> None:
    backend = _backend(FakeGpuLibrary(gpu(), cuda=Version(13, 1)), Tier.SM_PARTITIONS, tmp_path)
    (device,) = backend.devices()
    backend.reserve(device, Share(CLAIM, 6 * 1024**3, 11))
    _backend(FakeGpuLibrary(gpu(H100)), state_dir=tmp_path).release_others(())
    assert PartitionFiles(tmp_path, A100).asked() == {}


def test_sm_partitions_are_only_where_driver_and_gpu_have_them() -> None:
    backend = _backend(FakeGpuLibrary(gpu(), cuda=Version(13, 0)), Tier.SM_PARTITIONS)
    (trouble,) = backend.troubles()
    assert trouble.reason == "TierNotPossible"
    assert "CUDA 13.0 has no sm-partitions on a GPU of compute capability 8.0" in trouble.message
    assert "it needs CUDA 13.1 in the driver and compute capability 8.0" in trouble.message


@pytest.mark.parametrize("tier", [None, *Tier])
def test_a_gpu_whose_sms_are_not_known_is_left_alone(tier: Tier | None) -> None:
    unknown = gpu(compute_capability=Version(99, 0))
    backend = _backend(FakeGpuLibrary(unknown, gpu(H100), cuda=Version(13, 1)), tier)
    (trouble,) = backend.troubles()
    assert trouble.reason == "SmsNotKnown"
    assert f"GPU {A100} of compute capability 99.0" in trouble.message
    assert [device.uuid for device in backend.devices()] == [H100]


def test_without_a_claimed_memory_there_is_no_limit() -> None:
    backend = _backend(FakeGpuLibrary(gpu()))
    (device,) = backend.devices()
    assert "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT" not in backend.container_edits(device, Share(CLAIM, 0, 3)).env


def test_a_daemon_is_wanted_for_each_gpu(tmp_path: Path) -> None:
    node = CudaNode(FakeGpuLibrary(gpu(A100), gpu(H100)), tmp_path)
    assert set(node.wanted) == {A100, H100}
    assert node.wanted[A100] == {"uuid": A100, "memoryLimitMebibytes": 39 * 1024, "isStatic": False}


def test_a_gpu_that_stays_away_has_no_daemon_in_the_end(tmp_path: Path) -> None:
    library = FakeGpuLibrary(gpu(A100), gpu(H100))
    node = CudaNode(library, tmp_path)
    library.events.append(XidEvent(H100, 79))
    node.look(3)
    assert set(node.wanted) == {A100, H100}, "it may be back in a moment, and its daemon's clients live"
    node.look(6)
    assert set(node.wanted) == {A100}


def test_a_gpu_that_one_look_misses_keeps_its_daemon(tmp_path: Path) -> None:
    library = FakeGpuLibrary(gpu(A100), gpu(H100))
    node = CudaNode(library, tmp_path)
    for _ in range(10):
        missed, library.lost = library.gpus.pop(), 1
        node.look()
        assert set(node.wanted) == {A100, H100}
        library.gpus.append(missed)
        library.lost = 0
        node.look()


def test_a_driver_that_does_not_answer_ends_no_daemon(tmp_path: Path) -> None:
    library = FakeGpuLibrary(gpu(A100))
    node = CudaNode(library, tmp_path)
    library.error = LibraryError("DriverFailed", "an unknown error")
    node.look(20)
    assert node.backend.devices() == ()
    assert set(node.wanted) == {A100}


def test_one_answer_that_fails_withdraws_no_gpu(tmp_path: Path) -> None:
    library = FakeGpuLibrary(gpu(A100))
    node = CudaNode(library, tmp_path)
    library.error = LibraryError("DriverFailed", "an unknown error")
    node.look(2)
    assert [device.uuid for device in node.backend.devices()] == [A100]
    assert [trouble.reason for trouble in node.backend.troubles()] == ["DriverFailed"]
