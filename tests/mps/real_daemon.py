"""The real control daemon, from Debian's non-free package: it runs, and answers, without a GPU.

The package is fetched, unpacked and kept outside the repository; it is NVIDIA's, and never committed.
"""

import hashlib
import urllib.request
from pathlib import Path

from harness import cache
from harness.runner import CommandError, Shell

_PACKAGE = "pool/non-free/n/nvidia-graphics-drivers/nvidia-cuda-mps_535.261.03-1_amd64.deb"
_SHA256 = "1341544805aa9c839af45bac5a4bd697cb3eb43105eec439bfba60a8e13ba35a"
_DEADLINE_S = 30


class NoDaemonError(RuntimeError):
    """The real daemon cannot be had here; the message says why."""


def programs() -> list[Path]:
    """The folders that hold nvidia-cuda-mps-control and nvidia-cuda-mps-server.

    Raises NoDaemonError.
    """
    unpacked = cache.made_once(cache.home() / "nvidia-cuda-mps" / _SHA256[:12], _unpack)
    return [unpacked / "usr" / "bin", unpacked / "usr" / "sbin"]


def _unpack(folder: Path) -> None:
    package = folder.with_name(f"{folder.name}.deb")
    try:
        with urllib.request.urlopen(f"{_mirror()}{_PACKAGE}", timeout=_DEADLINE_S) as response:
            package.write_bytes(response.read())
        if hashlib.sha256(package.read_bytes()).hexdigest() != _SHA256:
            raise NoDaemonError(f"{_PACKAGE} is not the package that these tests know")
        Shell().run(["dpkg-deb", "--extract", str(package), str(folder)])
    except (OSError, CommandError) as error:
        raise NoDaemonError(f"cannot fetch and unpack Debian's {_PACKAGE}: {error}") from error
    finally:
        package.unlink(missing_ok=True)


def _mirror() -> str:
    """Where this machine has Debian from: non-free lies there too, whether or not apt looks for it."""
    targets = Shell().run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages"])
    mirrors = [uri for uri in targets.splitlines() if uri.endswith("/debian/")]
    if not mirrors:
        raise NoDaemonError("apt knows no mirror of Debian")
    return mirrors[0]
