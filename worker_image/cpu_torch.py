"""Make PyPI's CUDA build of torch small, and usable on a machine that will never have a GPU.

PyPI has no CPU-only build of torch. This leaves out torch's own CUDA kernels and torch.distributed, and puts
empty stand-ins in the place of the kernels and of NVIDIA's libraries, which torch links against: everything
on the CPU works, and torch.cuda.is_available() is False. 0.5 GB are left of 5.3. For local images and tests
only, never for an image that may meet a GPU.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

TORCH = "torch==2.15.0"
# What torch needs on a CPU: its dependencies less NVIDIA's; numpy, which it uses where present, comes on top.
DEPENDENCIES = (
    "filelock==4.2.12",
    "fsspec==2026.9.0",
    "jinja2==3.1.6",
    "markupsafe==3.0.4",
    "mpmath==1.4.1",
    "networkx==3.6.1",
    "sympy==1.14.0",
    "typing-extensions==4.16.0",
)
KERNELS = "libtorch_cuda.so"
# Found below torch/, and of no use without a GPU or a compiler.
UNUSED_LIBRARIES = (KERNELS, "libtorch_cuda_linalg.so", "libtorch_nvshmem.so", "libcaffe2_nvrtc.so")
UNUSED = (
    *(f"lib/{name}" for name in UNUSED_LIBRARIES),
    "bin/protoc",
    "bin/protoc-3.21.12.0",
    "include",
    "share",
    "test",
)
# Without these functions torch takes itself for a build that has no torch.distributed, which would make
# objects of the kernels' library while it is imported.
DISTRIBUTED = ("_c10d_init", "_rpc_init", "_faulty_agent_init", "_dist_autograd_init")
LEAVE_OUT = f"from torch import _C; [delattr(_C, name) for name in {DISTRIBUTED}]"
# What to change in torch's own Python files: pattern and replacement.
CHANGES = {
    "__init__.py": (r"(?m)^( +)from torch\._C import \*.*\n", rf"\g<0>\1{LEAVE_OUT}\n"),
    # These alternative kernels are all for GPUs, and look for the ordinary ones that they stand beside.
    "_native/__init__.py": (r"(?m)^( *)registry\._register_all_overrides\(\)\n", r"\1pass\n"),
}
NVIDIA = re.compile(r"lib(cu|nv|nccl)")
NVIDIA_FUNCTION = re.compile(r"(cu|nv|nccl)[A-Z]")
# cudaErrorNoDevice (CUDA runtime API, cudaError): what the runtime answers on a machine without a GPU.
NO_DEVICE = 100
# c10d::get_gil_checker(), which returns a reference: all that torch calls of its kernels while it is loaded.
REFERENCE_AT_START = "_ZN4c10d15get_gil_checkerEv"
# Of the C++ ABI's type descriptions only the name is ever looked at: a class without bases will do.
TYPE_INFO_VTABLE = "_ZTVN10__cxxabiv117__class_type_infoE"


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol that a library takes from elsewhere; `version` is empty where it has none."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Library:
    """The dynamic section of a shared library: what it links against, takes and gives."""

    needed: frozenset[str]
    undefined: frozenset[Symbol]
    defined: frozenset[str]
    # The library that each symbol version comes from.
    sources: Mapping[str, str]


def make_cpu_only(site: Path) -> None:
    """Turn the torch below `site`, installed without dependencies, into one for CPUs.

    Needs gcc and binutils. Raises ValueError if it is another version, CalledProcessError if a tool fails.
    """
    torch = site / "torch"
    left_out = {name for library in UNUSED_LIBRARIES for name in _read(torch / "lib" / library).defined}
    for name in UNUSED:
        path = torch / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for name, (pattern, replacement) in CHANGES.items():
        _change(torch / name, pattern, replacement)
    kept = [_read(path) for path in [*torch.glob("lib/*.so*"), *torch.glob("_C*.so")]]
    for name, symbols in stand_ins(kept, left_out).items():
        _compile(torch / "lib" / name, symbols)


def _change(file: Path, pattern: str, replacement: str) -> None:
    source, found = re.subn(pattern, replacement, file.read_text())
    if not found:
        raise ValueError(f"{file} is not that of {TORCH}: it has no {pattern}")
    # The installed file may be a hard link into the installer's cache: put a new one in its place.
    file.unlink()
    file.write_text(source)


def stand_ins(kept: Sequence[Library], left_out: Set[str]) -> dict[str, set[Symbol]]:
    """Return the libraries that are missing beside `kept`, each with the symbols to take from it.

    `left_out` are the symbols of torch's own libraries that were left out. Symbols without a version may come
    from any library: the stand-in for the kernels has all of them.
    """
    needed = {name for library in kept for name in library.needed}
    missing: dict[str, set[Symbol]] = {
        name: set() for name in needed if NVIDIA.match(name) or name == KERNELS
    }
    sources = {version: name for library in kept for version, name in library.sources.items()}
    elsewhere = left_out - {name for library in kept for name in library.defined}
    for symbol in {symbol for library in kept for symbol in library.undefined}:
        source = sources.get(symbol.version)
        if source in missing:
            missing[source].add(symbol)
        elif not symbol.version and (symbol.name in elsewhere or NVIDIA_FUNCTION.match(symbol.name)):
            missing[KERNELS].add(symbol)
    return missing


def _read(path: Path) -> Library:
    dynamic = _output("readelf", "--dynamic", "--wide", str(path))
    taken = [line.split() for line in _output("nm", "-D", "--undefined-only", str(path)).splitlines()]
    given = [line.split()[-1] for line in _output("nm", "-D", "--defined-only", str(path)).splitlines()]
    return Library(
        needed=frozenset(re.findall(r"NEEDED.*\[(.+)\]", dynamic)),
        # Weak symbols (w, v) may stay undefined.
        undefined=frozenset(_symbol(name) for kind, name in taken if kind == "U"),
        defined=frozenset(_symbol(name).name for name in given),
        sources=_version_sources(_output("readelf", "--version-info", "--wide", str(path))),
    )


def _symbol(text: str) -> Symbol:
    name, _, version = text.replace("@@", "@").partition("@")
    return Symbol(name, version)


def _version_sources(versions: str) -> dict[str, str]:
    sources: dict[str, str] = {}
    file = ""
    for kind, value in re.findall(r"\b(File|Name): (\S+)", versions):
        if kind == "File":
            file = value
        elif file:
            sources[value] = file
    return sources


def _compile(library: Path, symbols: set[Symbol]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, versions = Path(folder, "stand_in.c"), Path(folder, "versions")
        source.write_text(c_source(library.name, {symbol.name for symbol in symbols}))
        versions.write_text(version_script(symbols))
        options = [
            f"-Wl,-soname,{library.name}",
            *([f"-Wl,--version-script={versions}"] if _any_version(symbols) else []),
        ]
        command = [
            "gcc",
            "-O1",
            "-w",
            "-fno-builtin",
            "-shared",
            "-fPIC",
            *options,
            f"-o{library}",
            str(source),
        ]
        _output(*command)


def c_source(library: str, names: Iterable[str]) -> str:
    """Return a stand-in's source: the runtime finds no device, other libraries fail, torch's kernels trap."""
    answers = {"libcudart": f"return {NO_DEVICE};", "libtorch": "__builtin_trap();"}
    answer = answers.get(re.split(r"[._]", library)[0], "return 1;")
    return f"extern char {TYPE_INFO_VTABLE}[];\n" + "".join(
        _definition(name, answer) for name in sorted(names)
    )


def _definition(name: str, answer: str) -> str:
    if name.startswith("_ZTI"):
        return f'void *{name}[3] = {{&{TYPE_INFO_VTABLE}[16], "{name.removeprefix("_ZTI")}"}};\n'
    if name.startswith("_ZTV"):
        return f"void *{name}[64];\n"
    if name == REFERENCE_AT_START:
        return f"void *{name}(void) {{ static void *place; return &place; }}\n"
    return f"int {name}(void) {{ {answer} }}\n"


def version_script(symbols: Iterable[Symbol]) -> str:
    """Return a linker's version script that gives each symbol the version under which it is looked for."""
    names: dict[str, list[str]] = defaultdict(list)
    for symbol in sorted(symbols, key=lambda s: s.name):
        names[symbol.version].append(symbol.name)
    return "".join(
        f"{version} {{ global: {'; '.join(group)}; }};\n" for version, group in names.items() if version
    )


def _any_version(symbols: Iterable[Symbol]) -> bool:
    return any(symbol.version for symbol in symbols)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> int:
    """Run from the command line: cpu_torch.py SITE_PACKAGES."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("site_packages", type=Path, help=f"where {TORCH} is installed without dependencies")
    make_cpu_only(parser.parse_args().site_packages)
    return 0


if __name__ == "__main__":
    sys.exit(main())
