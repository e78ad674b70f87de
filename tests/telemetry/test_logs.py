"""Log lines: one JSON object each."""

import json
import logging
import subprocess
import sys
from typing import Any

from kneescale.telemetry.logs import JsonLines


def line(message: str, *args: object, **given: Any) -> dict[str, Any]:  # noqa: ANN401
    """A record of that message as it is written, parsed."""
    record = logging.getLogger("kneescale.test").makeRecord(
        "kneescale.test",
        logging.WARNING,
        "test.py",
        1,
        message,
        args,
        given.get("exc_info"),
        extra=given.get("extra"),
    )
    text = JsonLines({"model": "vad", "device": "gpu0"}).format(record)
    assert "\n" not in text
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def test_a_line_tells_what_it_is_about_and_no_more() -> None:
    told = line("%d items\nare late", 3, extra={"partition": "vad-1"})
    assert told.pop("timestamp").endswith("+00:00")
    assert told == {
        "severity": "warning",
        "logger": "kneescale.test",
        "message": "3 items\nare late",
        "model": "vad",
        "device": "gpu0",
        "partition": "vad-1",
    }


def test_a_line_about_one_of_many_says_which() -> None:
    assert line("hung", extra={"device": "gpu1"})["device"] == "gpu1"


def test_an_exception_is_in_the_line() -> None:
    error = ValueError("no rows")
    assert "ValueError: no rows" in line("failed", exc_info=(ValueError, error, None))["exception"]


def test_what_json_does_not_know_is_written_as_text() -> None:
    assert line("at", extra={"path": {1}})["path"] == "{1}"


def test_an_error_that_ends_a_thread_is_a_line_too() -> None:
    program = """
from threading import Thread
from kneescale.telemetry.logs import configure
configure(model="vad")
Thread(target=int, args=("x",), name="http").start()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    told = json.loads(done.stderr)
    assert (told["severity"], told["message"], told["model"]) == ("error", "the thread http failed", "vad")
    assert "ValueError: invalid literal" in told["exception"]
