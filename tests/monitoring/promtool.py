"""Prometheus' own judge of metrics, rules and expressions, from Debian's package.

The package is unpacked and not installed, which would start a server.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import cache
from harness.runner import CommandError, Runner

_PACKAGE = "prometheus"


class NoPromtoolError(RuntimeError):
    """promtool cannot be had here; the message says why."""


def find_promtool(runner: Runner) -> Path:
    """The program: this machine's, or the one of the package. Raises NoPromtoolError."""
    installed = shutil.which("promtool")
    if installed is not None:
        return Path(installed)

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
            raise NoPromtoolError(f"cannot fetch and unpack Debian's {_PACKAGE}: {error}") from error

    return cache.made_once(cache.home() / _PACKAGE, unpack) / "usr" / "bin" / "promtool"


@dataclass(frozen=True, slots=True)
class Promtool:
    """The program; each method returns what it finds wrong, nothing where all is well."""

    program: Path

    def check_metrics(self, page: str) -> str:
        """Of a metrics page."""
        return self._run(["check", "metrics"], page)

    def check_rules(self, rules: Path) -> str:
        """Of a file of rules."""
        return self._run(["check", "rules", str(rules)])

    def check_expressions(self, expressions: Sequence[str], folder: Path) -> str:
        """Of expressions, which become rules for it."""
        rules = [{"record": f"rule{at}", "expr": text} for at, text in enumerate(expressions)]
        file = folder / "expressions.yaml"
        file.write_text(json.dumps({"groups": [{"name": "expressions", "rules": rules}]}))
        return self.check_rules(file)

    def test_rules(self, tests: Path) -> str:
        """Of what rules say of the series in a file of tests."""
        return self._run(["test", "rules", str(tests)])

    def _run(self, arguments: Sequence[str], given: str = "") -> str:
        done = subprocess.run(
            [str(self.program), *arguments], input=given, capture_output=True, text=True, check=False
        )
        return "" if done.returncode == 0 else done.stdout + done.stderr
