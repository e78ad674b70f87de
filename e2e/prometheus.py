"""A real Prometheus outside a cluster, which finds what it scrapes by the shipped configuration.

Built from its Go module: Debian's package is built without the discovery of targets in Kubernetes.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from e2e.cluster.golang import GoPrograms
from harness.checkout import ROOT
from harness.ports import free_ports
from harness.progress import Progress
from harness.runner import Runner
from harness.wait import wait_until

MONITORING = ROOT / "manifests" / "components" / "monitoring"
_PROGRAMS = GoPrograms(
    Path(__file__).parent / "prometheus_program",
    ["github.com/prometheus/prometheus/cmd/prometheus"],
    "Prometheus",
    about_s=400,
    flags=["-ldflags=-s -w", "-tags=remove_all_sd,enable_kubernetes_sd"],
)
_STARTED_S = 60.0
_ANSWER_S = 10.0

Labels = Mapping[str, str]


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


def build(runner: Runner, progress: Progress) -> Path:
    """Return the program, built on first use. Raises CommandError."""
    return _PROGRAMS.build(runner, progress) / "prometheus"


@contextmanager
def watching(program: Path, kubeconfig: Path, folder: Path) -> Iterator[Prometheus]:
    """A server that watches a cluster by the shipped configuration, with its data and its log in a folder.

    Raises RuntimeError with its log when it ends before it is ready, TimeoutError.
    """
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(_configuration(kubeconfig)))
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    argv = [
        str(program),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    log, server = folder / "prometheus.log", Prometheus(f"http://{address}")
    with log.open("w") as out, subprocess.Popen(argv, stdout=out, stderr=out) as process:

        def ready() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"Prometheus ended: {log.read_text()}")
            return server.is_ready

        try:
            wait_until(ready, "Prometheus is ready", _STARTED_S)
            yield server
        finally:
            process.terminate()


def _configuration(kubeconfig: Path) -> dict[str, Any]:
    """The shipped one, but for its way to the API server and its pace."""
    config: dict[str, Any] = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    for job in config["scrape_configs"]:
        for discovery in job["kubernetes_sd_configs"]:
            discovery["kubeconfig_file"] = str(kubeconfig)
    # A test does not wait for a quarter of a minute.
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(MONITORING / "rules.yaml")]
    return config
