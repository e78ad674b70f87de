"""Prometheus and promtool from Debian's package: unpacked and not installed, which would start a server."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from e2e import cache
from e2e.runner import CommandError, Runner
from e2e.wait import wait_until

_PACKAGE = "prometheus"
_STARTED_S = 60.0
_ANSWER_S = 10.0

Labels = Mapping[str, str]


class NoPrometheusError(RuntimeError):
    """Prometheus cannot be had here; the message says why."""


def programs(runner: Runner) -> Path:
    """The folder of `prometheus` and `promtool`. Raises NoPrometheusError."""
    installed = shutil.which("promtool")
    if installed is not None:
        return Path(installed).parent

    def unpack(folder: Path) -> None:
        folder.mkdir(parents=True)
        try:
            if os.geteuid() == 0:
                runner.run(["apt-get", "update", "-qq"])
            runner.run(["apt-get", "download", "-qq", _PACKAGE], cwd=folder)
            (package,) = folder.glob("*.deb")
            runner.run(["dpkg-deb", "--extract", str(package), str(folder)])
            package.unlink()
        except CommandError as error:
            raise NoPrometheusError(f"cannot fetch and unpack Debian's {_PACKAGE}: {error}") from error

    return cache.made_once(cache.home() / _PACKAGE, unpack) / "usr" / "bin"


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A server that runs, by its HTTP API."""

    url: str

    @property
    def is_ready(self) -> bool:
        """Whether it answers queries."""
        try:
            with urlopen(f"{self.url}/-/ready", timeout=_ANSWER_S) as answer:
                return bool(answer.status == 200)
        except (URLError, ConnectionError):
            return False

    def ask(self, expression: str) -> list[tuple[Labels, float]]:
        """The series of an instant query, with their values now."""
        data = self._get("query", query=expression)
        return [(series["metric"], float(series["value"][1])) for series in data["result"]]

    def targets(self) -> list[Any]:
        """The targets that are scraped, as Prometheus tells of them."""
        targets: list[Any] = self._get("targets", state="active")["activeTargets"]
        return targets

    def rules(self) -> list[Any]:
        """The rules that are loaded, as Prometheus tells of them."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, what: str, **parameters: str) -> Any:  # noqa: ANN401
        with urlopen(f"{self.url}/api/v1/{what}?{urlencode(parameters)}", timeout=_ANSWER_S) as answer:
            return json.load(answer)["data"]


@contextmanager
def running(runner: Runner, config: Path, folder: Path, address: str) -> Iterator[Prometheus]:
    """A server with this configuration at an address with a port, its data and its log in a folder."""
    argv = [
        str(programs(runner) / "prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    log = folder / "prometheus.log"
    with log.open("w") as out, subprocess.Popen(argv, stdout=out, stderr=out) as process:
        server = Prometheus(f"http://{address}")
        try:
            started = lambda: server.is_ready or process.poll() is not None  # noqa: E731
            wait_until(started, f"Prometheus is ready, see {log}", _STARTED_S)
            yield server
        finally:
            process.terminate()
