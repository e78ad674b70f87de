"""Things are made once, whole or not at all, and named by their content."""

import os
import sys
import threading
from pathlib import Path

import pytest

from harness import cache


def test_made_once_makes_only_what_is_missing(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(path: Path) -> None:
        made.append(path)
        path.write_text("content")

    first = cache.made_once(tmp_path / "thing", make)
    second = cache.made_once(tmp_path / "thing", make)
    assert first == second == tmp_path / "thing"
    assert first.read_text() == "content"
    assert len(made) == 1


def test_the_contents_of_a_name_that_were_used_last_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for age, name in enumerate(["thing-1", "thing-2", "thing-3", "thing-else-4"]):
        (folder / name).mkdir(parents=True)
        (folder / name / "part").touch()
        os.utime(folder / name, (1000 - age, 1000 - age))
    cache.made_by_content(folder / "thing-3", Path.mkdir)
    assert len(_visible(folder)) == 4
    cache.made_by_content(folder / "thing-5", Path.mkdir)
    assert _visible(folder) == {"thing-1", "thing-3", "thing-5", "thing-else-4"}


def test_what_somebody_may_still_run_from_is_kept(tmp_path: Path) -> None:
    for number in range(cache.KEPT + 2):
        cache.made_by_content(tmp_path / "folder" / str(number), Path.mkdir)
    assert len(_visible(tmp_path / "folder")) == cache.KEPT + 2


def test_what_else_was_kept_of_a_content_goes_with_it(tmp_path: Path) -> None:
    forgotten: list[str] = []

    def forget(path: Path) -> None:
        forgotten.append(path.name)
        path.rmdir()

    folder = tmp_path / "folder"
    for number in range(cache.KEPT + 1):
        cache.made_by_content(folder / str(number), Path.mkdir, forget)
        os.utime(folder / str(number), (number, number))
    assert forgotten == ["0"]


def _visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_an_interrupted_making_leaves_nothing_and_is_begun_again(tmp_path: Path) -> None:
    def interrupted(path: Path) -> None:
        path.mkdir()
        (path / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.made_once(tmp_path / "thing", interrupted)
    assert not (tmp_path / "thing").exists()

    cache.made_once(tmp_path / "thing", Path.mkdir)
    assert list((tmp_path / "thing").iterdir()) == []


def test_of_several_at_once_only_one_makes(tmp_path: Path) -> None:
    made: list[str] = []
    both_here = threading.Barrier(2, timeout=10)

    def make(path: Path) -> None:
        made.append(threading.current_thread().name)
        path.touch()

    def run() -> None:
        both_here.wait()
        cache.made_once(tmp_path / "thing", make)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert len(made) == 1


def test_who_waits_for_a_lock_is_told_who_holds_it(tmp_path: Path) -> None:
    told: list[str] = []
    waits = threading.Event()

    def on_wait(text: str) -> None:
        told.append(text)
        waits.set()

    def second() -> None:
        with cache.lock(tmp_path / "thing", on_wait):
            pass

    thread = threading.Thread(target=second)
    with cache.lock(tmp_path / "thing", on_wait):
        thread.start()
        assert waits.wait(10)
    thread.join(10)
    assert told == [
        f"waiting for {tmp_path / 'thing'}, which is held by process {os.getpid()}: {' '.join(sys.argv)}"
    ]


def test_the_hash_changes_with_content_and_names_and_with_nothing_else(tmp_path: Path) -> None:
    def folder(name: str, files: dict[str, str]) -> Path:
        for file, text in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / name

    one = cache.content_hash("flag", folder("one", {"a": "1", "b/c": "2"}))
    assert one == cache.content_hash("flag", folder("same", {"b/c": "2", "a": "1", "__pycache__/x": "3"}))
    others = [
        cache.content_hash("other", tmp_path / "one"),
        cache.content_hash("flag", folder("changed", {"a": "1", "b/c": "3"})),
        cache.content_hash("flag", folder("renamed", {"a": "1", "b/d": "2"})),
        cache.content_hash("flag", folder("moved", {"a": "12", "b/c": ""})),
    ]
    assert len({one, *others}) == 5


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-such"):
        cache.content_hash(tmp_path / "no-such")
