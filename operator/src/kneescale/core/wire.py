"""The grant protocol: messages between a worker and its node's agent, as bytes.

One Unix stream socket per claim; the agent listens, the worker connects and says `Hello` first.
A frame is a 4-byte header (version, kind, body length; little endian) and a fixed-size body.
Times are CLOCK_MONOTONIC nanoseconds, which all processes of a host share.
The unit of work is an *item*: one row of a request's batch dimension.

`Grant` and `Refuse` both speak of the oldest items of the worker's queue, and the worker takes them off in
the order in which they were sent. What arrives meanwhile joins the tail, so both ends count the same items.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from enum import IntEnum
from operator import attrgetter
from typing import Any, ClassVar, Final

from kneescale.core.errors import ProtocolError

VERSION: Final = 6
_HEADER: Final = struct.Struct("<BBH")


class Role(IntEnum):
    """What a worker is for."""

    SERVE = 0
    PROFILE = 1


@dataclass(frozen=True, slots=True)
class Hello:
    """Worker to agent, first message: what the worker is for.

    `born_ns` is when its process began: it tells a worker that was started anew from one that connects again.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("<BQ")
    role: int
    born_ns: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """Worker to agent: `count` items joined the tail of its queue at `arrived_ns`."""

    layout: ClassVar[struct.Struct] = struct.Struct("<HQ")
    count: int
    arrived_ns: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Profiling worker to agent: asks for one batch that runs alone on the device, for about `lasts_us`.

    It takes the place of what this worker asked for before and has not been granted.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("<BHI")
    gpu_percent: int
    batch: int
    lasts_us: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Profiling worker to agent, after each run of its grid of `runs`: so many are measured.

    `error_permille`: the standard deviation to which nine in ten runs are known by then.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("<HHI")
    measured: int
    runs: int
    error_permille: int


@dataclass(frozen=True, slots=True)
class Done:
    """Worker to agent: the batch of this grant ran from `started_ns` to `ended_ns`; its lane is free.

    One that failed, or whose requests were all given up, is told as one that took no time.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("<QQQ")
    grant_id: int
    started_ns: int
    ended_ns: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Worker to agent, about once a second: requests over the last `window_ms`, and what they saw.

    `failed` counts refused and failed requests; `within_slo` only correct answers in time.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("<IIIIIII")
    window_ms: int
    requests: int
    answered: int
    within_slo: int
    failed: int
    p50_us: int
    p99_us: int


@dataclass(frozen=True, slots=True)
class Terms:
    """Agent to worker after `Hello` and at each change: the SLO, and how to pace itself when alone.

    Without its agent a worker runs batches of at most `batch` on lanes of `gpu_percent`, which together are
    busy for at most `share_permille` of the time: over 1000 on several at once.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("<QHBH")
    slo_ns: int
    batch: int
    gpu_percent: int
    share_permille: int


@dataclass(frozen=True, slots=True)
class Grant:
    """Agent to worker: run the oldest `batch` items on a lane of `gpu_percent`; done by `finish_by_ns`.

    Where it `follows` another grant of this worker, only once that one's batch has ended: it has its lane.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("<QBHQQ")
    grant_id: int
    gpu_percent: int
    batch: int
    finish_by_ns: int
    #: The other grant's id; 0 where there is none.
    follows: int = 0


@dataclass(frozen=True, slots=True)
class Refuse:
    """Agent to worker: give up the oldest `count` items; their requests cannot be answered within the SLO."""

    layout: ClassVar[struct.Struct] = struct.Struct("<I")
    count: int


@dataclass(frozen=True, slots=True)
class Restart:
    """Agent to worker: end, to be started anew; a fault took what the worker holds on the GPU."""

    layout: ClassVar[struct.Struct] = struct.Struct("<")


Message = Hello | Arrived | Probe | Done | Measured | Terms | Grant | Refuse | Restart | Progress

_KINDS: dict[int, type[Message]] = {
    1: Hello,
    2: Arrived,
    3: Probe,
    4: Done,
    5: Measured,
    6: Terms,
    7: Grant,
    8: Refuse,
    9: Restart,
    10: Progress,
}
_KIND_OF: dict[type[Message], int] = {cls: kind for kind, cls in _KINDS.items()}


def _reader(cls: type[Message]) -> Callable[[Message], tuple[Any, ...]]:
    """What gives the fields of a message in order; `dataclasses.astuple` copies deeply, which takes long."""
    names = [field.name for field in fields(cls)]
    if len(names) > 1:
        return attrgetter(*names)
    return lambda message: tuple(getattr(message, name) for name in names)


_READERS: Final = {cls: _reader(cls) for cls in _KIND_OF}
#: A whole frame of each kind: its header and its body.
_FRAMES: Final = {
    cls: struct.Struct(_HEADER.format + cls.layout.format.removeprefix("<")) for cls in _KIND_OF
}


def encode(message: Message) -> bytes:
    """The message as one frame.

    Raises ProtocolError when a field does not fit its width.
    """
    cls = type(message)
    try:
        return _FRAMES[cls].pack(VERSION, _KIND_OF[cls], cls.layout.size, *_READERS[cls](message))
    except struct.error as error:
        raise ProtocolError(f"{cls.__name__} does not fit its frame: {error}") from error


class Decoder:
    """Bytes in, in pieces of any size; whole messages out."""

    def __init__(self) -> None:
        self._pending = bytearray()

    @property
    def missing(self) -> int:
        """How many bytes the next message needs at least: who reads no more has at most that one."""
        needed = _HEADER.size
        if len(self._pending) >= needed:
            needed += _HEADER.unpack_from(self._pending)[2]
        return needed - len(self._pending)

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield each message that `data` completes.

        Raises ProtocolError on an unknown version, kind or length; the connection is then of no more use.
        """
        self._pending += data
        while len(self._pending) >= _HEADER.size:
            version, kind, length = _HEADER.unpack_from(self._pending)
            cls = _message_class(version, kind, length)
            end = _HEADER.size + length
            if len(self._pending) < end:
                return
            body = bytes(self._pending[_HEADER.size : end])
            del self._pending[:end]
            yield cls(*cls.layout.unpack(body))


def _message_class(version: int, kind: int, length: int) -> type[Message]:
    if version != VERSION:
        raise ProtocolError(
            f"peer speaks version {version} of the grant protocol, this is version {VERSION}: "
            "they do not mix, agent and worker must be of one release"
        )
    cls = _KINDS.get(kind)
    if cls is None:
        raise ProtocolError(f"unknown message kind {kind}")
    if length != cls.layout.size:
        raise ProtocolError(f"{cls.__name__} has {cls.layout.size} bytes, not {length}")
    return cls
