"""The real NVML bindings over a fake libnvidia-ml.so.1: what each answer of a driver becomes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).with_name("fake_nvml.c")
A, B = "GPU-aaaaaaaa-1", "GPU-bbbbbbbb-2"
HEALTHY = "0 0 0 0 0 0"
GPU_IS_LOST, NOT_LOADED, MISMATCH, TOO_OLD, TIMED_OUT, UNKNOWN = 15, 9, 18, 13, 10, 999


@pytest.fixture(scope="session")
def fake_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) to build the fake libnvidia-ml with")
    path = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
    flags = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{path.name}"]
    subprocess.run([compiler, *flags, "-o", str(path), str(SOURCE)], check=True)
    return path


class Driver:
    """A node's driver: what it says is in a file, and a process asks it through the bindings."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._root = folder / "host"
        self._root.mkdir()
        self._library = library
        self._state = folder / "state"
        command = [sys.executable, "-m", "tests.agent.nvml_process", str(self._root)]
        environ = {**os.environ, "FAKE_NVML": str(self._state)}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environ, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def install(self) -> None:
        """The library appears on the node."""
        folder = self._root / "usr/lib64"
        folder.mkdir(parents=True)
        shutil.copy(self._library, folder)

    def replace(self) -> None:
        """Another release of the library takes its place."""
        installed = self._root / "usr/lib64" / self._library.name
        release = installed.with_name(f"{self._library.name}.2")
        shutil.copy(self._library, release)
        installed.unlink()
        installed.symlink_to(release.name)

    def says(self, *lines: str) -> None:
        """What the driver answers from now on."""
        self._state.write_text("".join(f"{line}\n" for line in lines))

    def ask(self, method: str) -> Any:  # noqa: ANN401 - JSON
        """What GpuLibrary's method returned or raised."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{method}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture
def driver(tmp_path: Path, fake_library: Path) -> Iterator[Driver]:
    driver = Driver(tmp_path, fake_library)
    driver.says(f"gpu {A} {HEALTHY}")
    yield driver
    driver.process.communicate(timeout=20)
    assert driver.process.returncode == 0


def test_a_gpu_is_read(driver: Driver) -> None:
    driver.install()
    assert driver.ask("open") is None
    inventory = driver.ask("inventory")
    assert (inventory["driver"], inventory["cuda"]) == (
        {"major": 615, "minor": 71},
        {"major": 13, "minor": 1},
    )
    (gpu,) = inventory["gpus"]
    assert gpu == {
        "uuid": A,
        "name": "NVIDIA A100-SXM4-40GB",
        "memory_bytes": 39 * 1024**3,
        "core_count": 6912,
        "compute_capability": {"major": 8, "minor": 0},
        "mig_enabled": False,
        "faults": {
            "uncorrected_ecc_errors": 0,
            "retired_pages_pending": False,
            "row_remap_failed": False,
            "recovery_needed": False,
        },
    }


def test_a_driver_that_is_installed_later_is_found(driver: Driver) -> None:
    assert driver.ask("open")["reason"] == "LibraryNotFound"
    driver.install()
    driver.says(f"init {NOT_LOADED}")
    answer = driver.ask("open")
    assert answer["reason"] == "DriverNotLoaded"
    assert "modprobe nvidia" in answer["message"]
    driver.says(f"gpu {A} {HEALTHY}")
    assert driver.ask("open") is None
    assert len(driver.ask("inventory")["gpus"]) == 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [(MISMATCH, "DriverVersionMismatch"), (TOO_OLD, "DriverTooOld"), (UNKNOWN, "DriverFailed")],
)
def test_a_broken_driver_says_which(driver: Driver, code: int, reason: str) -> None:
    driver.install()
    driver.says(f"init {code}")
    assert driver.ask("open")["reason"] == reason


def test_a_library_that_was_replaced_is_for_another_process(driver: Driver) -> None:
    driver.install()
    driver.says(f"init {MISMATCH}")
    for _ in range(2):
        assert driver.ask("open")["reason"] == "DriverVersionMismatch"
    driver.replace()
    assert "is another one than this process loaded" in driver.ask("open")["replaced"]


def test_a_library_that_was_replaced_is_left_alone_while_the_old_one_does(driver: Driver) -> None:
    driver.install()
    assert driver.ask("open") is None
    driver.ask("close")
    driver.replace()
    assert driver.ask("open") is None


def test_faults_are_read_and_what_a_gpu_does_not_know_is_none(driver: Driver) -> None:
    driver.install()
    driver.says(f"gpu {A} 0 0 3 1 1 2", f"gpu {B} 0 0 -1 0 0 -1")
    driver.ask("open")
    sick, plain = (gpu["faults"] for gpu in driver.ask("inventory")["gpus"])
    assert sick == {
        "uncorrected_ecc_errors": 3,
        "retired_pages_pending": True,
        "row_remap_failed": True,
        "recovery_needed": True,
    }
    assert not any(plain.values())


@pytest.mark.parametrize(("code", "lost"), [(TIMED_OUT, 0), (UNKNOWN, 0), (GPU_IS_LOST, 1)])
def test_a_question_about_faults_that_fails_makes_no_gpu_lost_that_is_not(
    driver: Driver, code: int, lost: int
) -> None:
    driver.install()
    driver.says(f"gpu {A} 0 0 0 0 -{code} 0")
    driver.ask("open")
    inventory = driver.ask("inventory")
    assert (inventory["lost"], len(inventory["gpus"])) == (lost, 1 - lost)


def test_a_gpu_in_mig_mode_is_read_though_its_cores_are_not(driver: Driver) -> None:
    driver.install()
    driver.says(f"gpu {A} 0 1 0 0 0 0")
    driver.ask("open")
    (gpu,) = driver.ask("inventory")["gpus"]
    assert (gpu["mig_enabled"], gpu["core_count"]) == (True, 0)


@pytest.mark.parametrize(
    ("code", "counted"), [(GPU_IS_LOST, "lost"), (UNKNOWN, "failed"), (TIMED_OUT, "failed")]
)
def test_a_gpu_that_cannot_be_read_is_counted_and_the_others_are_read(
    driver: Driver, code: int, counted: str
) -> None:
    driver.install()
    driver.says(f"gpu {A} {code} 0 0 0 0 0", f"gpu {B} {HEALTHY}")
    assert driver.ask("open") is None
    inventory = driver.ask("inventory")
    assert [gpu["uuid"] for gpu in inventory["gpus"]] == [B]
    assert {why: inventory[why] for why in ("lost", "failed")} == {"lost": 0, "failed": 0, counted: 1}


def test_xid_errors_come_one_by_one(driver: Driver) -> None:
    driver.install()
    driver.ask("open")
    assert driver.ask("wait") is None
    driver.says(f"gpu {A} {HEALTHY}", f"xid {A} 79", "xid GPU-gone 13")
    assert driver.ask("wait") == {"uuid": A, "xid": 79}
    assert driver.ask("wait") == {"uuid": "", "xid": 13}
    assert driver.ask("wait") is None
    assert driver.ask("close") is None
    assert driver.ask("close") is None
