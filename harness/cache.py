"""Things made once and kept under ~/.cache/kneescale, named by the content that they are made from."""

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: Of what is made anew with each change of the sources, so many contents are kept.
KEPT = 3
#: And whatever was used that shortly ago: somebody may still run from it.
IN_USE_S = 3600


def home() -> Path:
    """Return the folder that holds everything the harness keeps: $XDG_CACHE_HOME/kneescale."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kneescale"


def content_hash(*parts: str | Path) -> str:
    """Return 12 hex digits that name this content: texts, and files and folders by what is in them."""
    digest = hashlib.sha256()
    for part in parts:
        for name, content in _contents(part):
            for piece in (name.encode(), content):
                digest.update(len(piece).to_bytes(8, "big") + piece)
    return digest.hexdigest()[:12]


def _contents(part: str | Path) -> Iterable[tuple[str, bytes]]:
    if isinstance(part, str):
        return [("", part.encode())]
    if part.is_file():
        return [(part.name, part.read_bytes())]
    if not part.is_dir():
        raise FileNotFoundError(f"{part}: no such file or folder")
    files = sorted(f for f in part.rglob("*") if f.is_file() and "__pycache__" not in f.parts)
    return [(str(f.relative_to(part)), f.read_bytes()) for f in files]


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it; it may be missing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def made_once(path: Path, make: Callable[[Path], None]) -> Path:
    """Return `path`, a file or folder; where it is missing, `make` makes it first.

    `make` gets a path beside it that does not exist yet; only what it finished is moved into place, so an
    interrupted run leaves nothing half-made, and of several runs at once one makes and the others wait.
    """
    if path.exists():
        return path
    with lock(path):
        if not path.exists():
            unfinished = path.with_name(f".{path.name}.unfinished")
            remove(unfinished)
            make(unfinished)
            unfinished.rename(path)
    return path


def made_by_content(
    path: Path, make: Callable[[Path], None], forget: Callable[[Path], None] = remove
) -> Path:
    """The same, for what each change of the sources makes anew; `forget` removes what is old of it.

    Kept are the KEPT contents that were used last, and those used within IN_USE_S. `path` ends in its
    content's hash: `<name>-<hash>`, or the hash alone in a folder of one kind of thing.
    """
    made_once(path, make)
    os.utime(path)
    long_ago_s = _used_s(path) - IN_USE_S
    with lock(path.parent):
        for old in sorted(_same_name(path), key=_used_s, reverse=True)[KEPT:]:
            if _used_s(old) < long_ago_s:
                forget(old)
    return path


def _same_name(path: Path) -> list[Path]:
    name = _name(path)
    beside = (other for other in path.parent.iterdir() if not other.name.startswith("."))
    return [other for other in beside if _name(other) == name]


def _name(path: Path) -> str:
    return path.stem.rpartition("-")[0]


def _used_s(path: Path) -> float:
    return path.stat().st_mtime


@contextmanager
def lock(path: Path, on_wait: Callable[[str], object] = lambda _: None) -> Iterator[None]:
    """Hold the lock that belongs to `path` among all processes; it ends with the process at the latest.

    Where another one holds it, `on_wait` is told who before this waits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            on_wait(f"waiting for {path}, which is held by {file.read() or 'another process'}")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()}: {' '.join(sys.argv)}")
        file.flush()
        yield
