"""What the daemon and its server log, as far as it tells that clients lost their contexts.

A daemon in the foreground writes its log to its standard output, its server's too (manual page of
nvidia-cuda-mps-control; seen with driver 535.261, where no control.log appears then):

    [2026-11-25 23:19:49.458 Control 22040] Starting new server 22128 for user 0
    [2026-11-25 23:19:49.461 Control 22040] Server 22128 exited with status 1
    [2024-12-10 06:38:01.158 Control    64] Server encountered a fatal exception. Shutting down
    [2026-04-28 18:20:41.986 Server  4428] Client {PID: 4267, Context ID: 0} connected

    [2026-11-26 06:47:53.096 Server  2518] Client {PID: 2829, Context: 1} encountered a fatal GPU error.

The first two are from that daemon without a GPU, the third from NVIDIA/k8s-device-plugin issue 762, the
fourth from bottlerocket-os/bottlerocket-kernel-kit pull request 415, the last from an H200 with driver
580.159.04. It names a client that did nothing: its neighbour's kernel had written where there was no memory.
So a line tells that there was a fault, and not whose: NVIDIA says that one is reported to all clients
"without indicating which client generated the error".
"""

import re
from dataclasses import dataclass

_LINE = re.compile(r"^\[[-\d]+ [:.\d]+ (?P<source>[\w ]*?)\s+(?P<pid>\d+)\] (?P<text>.*)$")
_SERVER_ENDED = re.compile(r"^Server (?P<server>\d+) exited with status (?P<status>-?\d+)")
_FAULT = re.compile(r"\bfatal\b|\bin FAULT\b|\bGPU exception\b|\bGPU error\b", re.IGNORECASE)
#: What some write about each question that they are asked.
_QUESTION = re.compile(r"^(NEW UI|Cmd:|UI closed)")


@dataclass(frozen=True, slots=True)
class Loss:
    """All clients lost their contexts, says this line."""

    line: str


@dataclass(frozen=True, slots=True)
class ServerFailed:
    """A server ended by itself, says this line: its clients, if it had any, lost their contexts."""

    pid: int
    line: str


def is_about_a_question(line: str) -> bool:
    """Whether the line tells nothing but that the daemon was asked something."""
    found = _LINE.match(line.strip())
    return found is not None and _QUESTION.match(found["text"]) is not None


def parse_line(line: str) -> Loss | ServerFailed | None:
    """What a line of the log tells of a loss; None for nearly all of them."""
    found = _LINE.match(line.strip())
    if found is None:
        return None
    text = found["text"]
    ended = _SERVER_ENDED.match(text)
    if ended is not None:
        return ServerFailed(int(ended["server"]), line.strip()) if int(ended["status"]) else None
    return Loss(line.strip()) if _FAULT.search(text) else None
