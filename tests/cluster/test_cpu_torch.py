"""The stand-ins have just the symbols that the rest of torch looks for, under the versions it looks for."""

import ctypes
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from worker_image.cpu_torch import KERNELS, Library, Symbol, c_source, stand_ins, version_script

NEEDED = ("libc.so.6", "libcudart.so.13", "libnccl.so.2", KERNELS)


def _library(
    undefined: Iterable[Symbol], defined: Iterable[str] = (), sources: Mapping[str, str] | None = None
) -> Library:
    return Library(frozenset(NEEDED), frozenset(undefined), frozenset(defined), sources or {})


def test_versioned_symbols_come_from_the_library_of_their_version() -> None:
    sources = {"libcudart.so.13": "libcudart.so.13", "GLIBC_2.2.5": "libc.so.6"}
    wanted = {Symbol("cudaMalloc", "libcudart.so.13"), Symbol("memcpy", "GLIBC_2.2.5")}
    made = stand_ins([_library(wanted, sources=sources)], left_out=set())
    assert made == {
        "libcudart.so.13": {Symbol("cudaMalloc", "libcudart.so.13")},
        "libnccl.so.2": set(),
        KERNELS: set(),
    }


def test_of_the_unversioned_ones_only_those_of_the_left_out_libraries_and_nvidias_are_made() -> None:
    wanted = [
        Symbol(name, "") for name in ("_ZN2at4cuda5sleepEl", "ncclSend", "PyObject_Call", "_ZN3c105shareEv")
    ]
    kept = [_library(wanted), _library([], defined=["_ZN3c105shareEv"])]
    made = stand_ins(kept, left_out={"_ZN2at4cuda5sleepEl", "_ZN3c105shareEv", "_ZN2at6unusedEv"})
    assert made[KERNELS] == {Symbol("_ZN2at4cuda5sleepEl", ""), Symbol("ncclSend", "")}


def test_each_version_gets_its_symbols() -> None:
    symbols = [Symbol("b", "V1"), Symbol("a", "V1"), Symbol("c", "V2"), Symbol("d", "")]
    assert version_script(symbols) == "V1 { global: a; b; };\nV2 { global: c; };\n"


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_the_runtimes_stand_in_says_that_there_is_no_device(tmp_path: Path) -> None:
    source = tmp_path / "runtime.c"
    source.write_text(c_source("libcudart.so.13", ["cudaGetDeviceCount", "_ZTI4Type", "_ZTV4Type"]))
    library = tmp_path / "libcudart.so"
    subprocess.run(
        ["gcc", "-w", "-shared", "-fPIC", f"-o{library}", str(source), "-l:libstdc++.so.6"], check=True
    )
    assert ctypes.CDLL(str(library)).cudaGetDeviceCount() == 100
