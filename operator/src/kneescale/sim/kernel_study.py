"""An idealised study of D-STACK's: networks whose kernels need different GPU%s, shared in three ways.

The paper (arXiv 2304.13541) runs three small ConvNets by temporal sharing, by D-STACK, which gives each
network one GPU%, its knee, and by an ideal scheduler, which gives each kernel the GPU% that is right for it.
It reports 44 %, 86 % and 95 % utilisation, as recalled.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kneescale.core.units import WHOLE_GPU_PERCENT

#: A network that has answered nothing for this many times its run time alone goes first: its SLO here.
_SLO_FACTOR = 4

#: Requests of each network that the ideal scheduler has kernels of at hand; one process each has one.
_IDEAL_IN_FLIGHT = 2


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that can use `gpu_percent`, with which it takes `ms`; with less, longer in proportion."""

    gpu_percent: int
    ms: float


@dataclass(frozen=True, slots=True)
class Network:
    """A network's kernels in order, and its knee."""

    name: str
    knee_percent: int
    kernels: tuple[Kernel, ...]

    @property
    def alone_ms(self) -> float:
        """How long it takes on the whole GPU."""
        return sum(kernel.ms for kernel in self.kernels)

    @property
    def useful_area(self) -> float:
        """GPU% x ms that its kernels can use."""
        return sum(kernel.gpu_percent * kernel.ms for kernel in self.kernels)


def _network(name: str, knee_percent: int, *kernels: tuple[int, float]) -> Network:
    return Network(name, knee_percent, tuple(Kernel(*kernel) for kernel in kernels))


#: As in LeNet: convolution, pooling, convolution, pooling, convolution, two linear layers. The knees (30, 40
#: and 60 %) and run times (about 10, 15 and 15 ms) are the paper's, as recalled. Its demands per kernel are
#: not at hand: these lie around the knees, higher for convolutions than for pooling and linear layers, and
#: were chosen so that the three utilisations come close to the paper's. The study shows how they come about;
#: it proves none.
CONVNETS = (
    _network("convnet-1", 30, (35, 3.4), (15, 0.6), (35, 2.8), (15, 0.6), (30, 1.2), (30, 1.0), (5, 0.7)),
    _network("convnet-2", 40, (50, 4.4), (20, 1.0), (50, 4.0), (20, 0.9), (35, 2.0), (30, 1.5), (15, 0.8)),
    _network("convnet-3", 60, (65, 5.2), (35, 0.9), (65, 4.8), (35, 0.8), (65, 2.0), (45, 1.0), (5, 0.7)),
)


@dataclass(frozen=True, slots=True)
class Step:
    """What holds `gpu_percent` for `ms` without a break, of which `useful_area` (GPU% x ms) is used."""

    gpu_percent: int
    ms: float
    useful_area: float


@dataclass(frozen=True, slots=True)
class Slot:
    """A step of a network on the timeline."""

    network: str
    step: Step
    start_ms: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """All slots that start within `duration_ms`, in order of start."""

    slots: tuple[Slot, ...]
    duration_ms: float

    @property
    def utilization(self) -> float:
        """The part of the GPU's area that the kernels use, 0 to 1."""
        used = sum(
            slot.step.useful_area * min(1.0, (self.duration_ms - slot.start_ms) / slot.step.ms)
            for slot in self.slots
        )
        return used / (WHOLE_GPU_PERCENT * self.duration_ms)


def kernel_study(
    networks: Sequence[Network] = CONVNETS, duration_ms: float = 1000.0
) -> Mapping[str, Timeline]:
    """Timelines of `temporal`, `dstack` and `ideal`, each with requests of every network always waiting."""
    sharings = {
        "temporal": _Sharing(networks, ([_on_whole_gpu(network)] for network in networks)),
        "dstack": _Sharing(networks, ([_at_knee(network)] for network in networks)),
        "ideal": _Sharing(networks, map(_by_kernel, networks), _IDEAL_IN_FLIGHT),
    }
    return {name: sharing.timeline(duration_ms) for name, sharing in sharings.items()}


def _on_whole_gpu(network: Network) -> Step:
    return Step(WHOLE_GPU_PERCENT, network.alone_ms, network.useful_area)


def _at_knee(network: Network) -> Step:
    """Kernels that could use more take longer, and those that need less leave the rest unused."""
    ms = sum(kernel.ms * max(1.0, kernel.gpu_percent / network.knee_percent) for kernel in network.kernels)
    return Step(network.knee_percent, ms, network.useful_area)


def _by_kernel(network: Network) -> list[Step]:
    return [Step(kernel.gpu_percent, kernel.ms, kernel.gpu_percent * kernel.ms) for kernel in network.kernels]


class _Stream:
    """Requests of one network, one after the other; `place` is the next step of the present one."""

    def __init__(self, number: int, steps: Sequence[Step]) -> None:
        self.number = number
        self._steps = steps
        self._place = 0

    @property
    def next(self) -> Step:
        return self._steps[self._place]

    def advance(self) -> bool:
        """Whether that was the last step of a request."""
        self._place = (self._place + 1) % len(self._steps)
        return self._place == 0


class _Sharing:
    """The largest steps that fit go first; but before all others, who wait, networks whose SLO is over."""

    def __init__(
        self, networks: Sequence[Network], steps: Iterable[Sequence[Step]], in_flight: int = 1
    ) -> None:
        self._networks = networks
        self._idle = [
            _Stream(number, of_one) for number, of_one in enumerate(steps) for _ in range(in_flight)
        ]
        self._running: list[tuple[float, int, _Stream]] = []
        self._slots: list[Slot] = []
        self._free_percent = WHOLE_GPU_PERCENT
        self._answered_ms = [0.0] * len(networks)

    def timeline(self, duration_ms: float) -> Timeline:
        now_ms = 0.0
        while now_ms < duration_ms:
            self._start_what_fits(now_ms)
            now_ms = self._end_next()
        return Timeline(tuple(self._slots), duration_ms)

    def _start_what_fits(self, now_ms: float) -> None:
        for stream in sorted(self._idle, key=lambda stream: self._rank(stream, now_ms)):
            if stream.next.gpu_percent <= self._free_percent:
                self._start(stream, now_ms)
            elif self._is_late(stream, now_ms):
                return

    def _rank(self, stream: _Stream, now_ms: float) -> tuple[bool, float, float]:
        answered_ms = self._answered_ms[stream.number]
        if self._is_late(stream, now_ms):
            return False, answered_ms, 0.0
        return True, -stream.next.gpu_percent, answered_ms

    def _is_late(self, stream: _Stream, now_ms: float) -> bool:
        slo_ms = _SLO_FACTOR * self._networks[stream.number].alone_ms
        return now_ms - self._answered_ms[stream.number] > slo_ms

    def _start(self, stream: _Stream, now_ms: float) -> None:
        step = stream.next
        self._idle.remove(stream)
        self._free_percent -= step.gpu_percent
        heapq.heappush(self._running, (now_ms + step.ms, len(self._slots), stream))
        self._slots.append(Slot(self._networks[stream.number].name, step, now_ms))

    def _end_next(self) -> float:
        now_ms, _, stream = heapq.heappop(self._running)
        self._free_percent += stream.next.gpu_percent
        self._idle.append(stream)
        if stream.advance():
            self._answered_ms[stream.number] = now_ms
        return now_ms
