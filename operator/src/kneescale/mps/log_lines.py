"""What the daemon and its server log, as far as it tells that clients lost their contexts.

A daemon in the foreground writes its log to its standard output, its server's too (manual page of
nvidia-cuda-mps-control; seen with driver 535.261, where no control.log appears then):

    [2026-11-25 23:19:49.458 Control 22040] Starting new server 22128 for user 0
    [2026-11-25 23:19:49.461 Control 22040] Server 22128 exited with status 1
    [2024-12-10 06:38:01.158 Control    64] Server encountered a fatal exception. Shutting down
    [2026-04-28 18:20:41.986 Server  4428] Client {PID: 4267, Context ID: 0} connected

The first two are from that daemon without a GPU, the third from NVIDIA/k8s-device-plugin issue 762, the last
from bottlerocket-os/bottlerocket-kernel-kit pull request 415. A GPU fault's own lines nobody here has seen:
NVIDIA says that one is reported to all clients "without indicating which client generated the error". Where a
line speaks of a fault and names a client all the same, that client is taken for the culprit.
"""

import re
from dataclasses import dataclass

_LINE = re.compile(r"^\[[-\d]+ [:.\d]+ (?P<source>[\w ]*?)\s+(?P<pid>\d+)\] (?P<text>.*)$")
_SERVER_ENDED = re.compile(r"^Server (?P<server>\d+) exited with status (?P<status>-?\d+)")
_FAULT = re.compile(r"\bfatal\b|\bin FAULT\b|\bGPU exception\b|\bGPU error\b", re.IGNORECASE)
#: `{PID: 4267, Context ID: 0}`, or `{4267, 0}` before driver 550.
_CLIENT = re.compile(r"[Cc]lient \{(?:PID: )?(?P<client>\d+), ")


@dataclass(frozen=True, slots=True)
class Loss:
    """All clients lost their contexts, says this line; `culprit` is 0 where it names nobody."""

    line: str
    culprit: int = 0


def parse_line(line: str) -> Loss | None:
    """What a line of the log tells of a loss; None for nearly all of them."""
    found = _LINE.match(line.strip())
    if found is None:
        return None
    text = found["text"]
    ended = _SERVER_ENDED.match(text)
    if ended is not None:
        return Loss(line.strip()) if int(ended["status"]) else None
    if not _FAULT.search(text):
        return None
    client = _CLIENT.search(text)
    return Loss(line.strip(), int(client["client"]) if client else 0)
