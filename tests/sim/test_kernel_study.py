from itertools import pairwise

import pytest

from kneescale.sim.kernel_study import CONVNETS, Kernel, Network, Timeline, kernel_study

STUDY = kernel_study()


@pytest.mark.parametrize(("name", "utilization"), [("temporal", 0.44), ("dstack", 0.86), ("ideal", 0.95)])
def test_the_utilisations_come_close_to_the_papers(name: str, utilization: float) -> None:
    assert STUDY[name].utilization == pytest.approx(utilization, abs=0.02)


@pytest.mark.parametrize("timeline", STUDY.values(), ids=STUDY)
def test_nothing_passes_100_gpu_percent(timeline: Timeline) -> None:
    changes = [(slot.start_ms, slot.step.gpu_percent) for slot in timeline.slots]
    changes += [(slot.start_ms + slot.step.ms, -slot.step.gpu_percent) for slot in timeline.slots]
    used = 0
    for _, percent in sorted(changes):
        used += percent
        assert used <= 100


@pytest.mark.parametrize("timeline", STUDY.values(), ids=STUDY)
def test_no_network_waits_much_longer_than_its_slo(timeline: Timeline) -> None:
    for network in CONVNETS:
        starts_ms = [slot.start_ms for slot in timeline.slots if slot.network == network.name]
        gaps_ms = [later - earlier for earlier, later in pairwise(starts_ms)]
        assert max(gaps_ms) <= 6 * network.alone_ms


def test_the_ideal_runs_each_kernel_as_if_it_were_alone() -> None:
    (network,) = [network for network in CONVNETS if network.name == "convnet-1"]
    slots = [slot for slot in STUDY["ideal"].slots if slot.network == "convnet-1"]
    assert {(slot.step.gpu_percent, slot.step.ms) for slot in slots} == {
        (kernel.gpu_percent, kernel.ms) for kernel in network.kernels
    }


def test_one_network_with_one_kernel_is_served_alike_by_all() -> None:
    network = Network("one", 100, (Kernel(100, 5.0),))
    study = kernel_study([network], 100.0)
    assert [timeline.utilization for timeline in study.values()] == pytest.approx([1, 1, 1])


def test_at_its_knee_a_network_slows_where_kernels_could_use_more() -> None:
    network = Network("one", 20, (Kernel(40, 5.0), Kernel(10, 5.0)))
    study = kernel_study([network], 30.0)
    assert [slot.step.ms for slot in study["dstack"].slots] == [15, 15]
    assert study["dstack"].utilization == pytest.approx(2 * 250 / 3000)
    assert study["temporal"].utilization == pytest.approx(3 * 250 / 3000)
