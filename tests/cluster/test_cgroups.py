"""The control groups of a cluster, on a tree of plain files that stands for the kernel's."""

from pathlib import Path

import pytest

from e2e.cluster.base import ClusterError
from e2e.cluster.cgroups import CgroupTree, Hierarchies

V1 = """\
tmpfs {top} tmpfs rw 0 0
cgroup {top}/cpuset cgroup rw,relatime,cpuset 0 0
cgroup {top}/cpu cgroup rw,relatime,cpu 0 0
"""
HYBRID = V1 + "cgroup2 {top}/unified cgroup2 rw 0 0\n"
V2 = "cgroup2 {top}/unified cgroup2 rw,nosuid 0 0\n"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    for name in ("cpuset", "cpu", "unified"):
        (tmp_path / "cgroup" / name).mkdir(parents=True)
    (tmp_path / "cgroup/cpuset/cpuset.cpus").write_text("0-3\n")
    (tmp_path / "cgroup/cpuset/cpuset.mems").write_text("0\n")
    (tmp_path / "cgroup/unified/cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids\n")
    return tmp_path / "cgroup"


def test_v1_has_a_hierarchy_for_each_controller_and_the_cpusets_one_is_the_record(top: Path) -> None:
    found = Hierarchies.detect(HYBRID.format(top=top))
    assert found.roots == (top / "cpuset", top / "cpu")
    assert found.mounted == (top / "cpuset", top / "cpu", top / "unified")
    assert found.tracker == top / "cpuset"
    assert not found.is_v2


def test_v2_has_one_hierarchy(top: Path) -> None:
    found = Hierarchies.detect(V2.format(top=top))
    assert found == Hierarchies((top / "unified",), top / "unified", is_v2=True, mounted=(top / "unified",))


def test_a_machine_without_control_groups_is_told_so() -> None:
    with pytest.raises(ClusterError, match="mount cgroup2"):
        Hierarchies.detect("proc /proc proc rw 0 0\n")


def test_a_v1_group_gets_its_parents_cpus_unless_it_is_bound_to_others(top: Path) -> None:
    tree = CgroupTree("kns-x", Hierarchies.detect(V1.format(top=top)))
    tree.make()
    tree.make("node1", cpus="2")
    tree.make("node1/kubelet")
    cpus = {
        group: (top / "cpuset/kns-x" / group / "cpuset.cpus").read_text().strip() for group in ("", "node1")
    }
    assert cpus == {"": "0-3", "node1": "2"}
    assert (top / "cpuset/kns-x/node1/kubelet/cpuset.cpus").read_text() == "2"
    assert (top / "cpuset/kns-x/node1/kubelet/cpuset.mems").read_text() == "0\n"
    assert (top / "cpu/kns-x/node1/kubelet").is_dir()


def test_a_v2_group_is_handed_the_controllers_that_there_are(top: Path) -> None:
    tree = CgroupTree("kns-x", Hierarchies.detect(V2.format(top=top)))
    tree.make()
    assert (top / "unified/cgroup.subtree_control").read_text() == "+cpu +cpuset +io +memory +pids"


def test_members_are_those_of_all_groups_below(top: Path) -> None:
    tree = CgroupTree("kns-x", Hierarchies.detect(V1.format(top=top)))
    for group, pids in {"": "", "node1": "", "node1/kubelet": "17\n", "node2": "4\n5\n"}.items():
        tree.make(group)
        tree.members_file(group).write_text(pids)
    assert sorted(tree.members()) == [4, 5, 17]
    assert tree.members("node1") == [17]
    assert tree.members("node3") == []


def test_what_is_not_in_the_tree_is_not_removed(top: Path) -> None:
    tree = CgroupTree("kns-x", Hierarchies.detect(HYBRID.format(top=top)))
    for folder in ("cpuset/kns-x/node1/kubepods", "cpu/kns-x", "unified/kns-x/node1", "cpu/kns-xy"):
        (top / folder).mkdir(parents=True)
    tree.remove()
    assert not list(top.glob("*/kns-x"))
    assert (top / "cpu/kns-xy").is_dir()
