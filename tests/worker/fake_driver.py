"""A CUDA driver without a GPU: hands out SMs as NVIDIA's manual says, and notes what is current where."""

import threading
from collections.abc import Sequence

from kneescale_worker.cuda_driver import CappedContext, GreenStream, SmResource
from kneescale_worker.errors import LoadError


class FakeDriver:
    """A device of `sm_count` SMs, of which this process sees `cap`; green contexts get groups of `unit`.

    `green[stream]` is which groups a stream's context has. `fails` names a call that shall fail.
    """

    def __init__(
        self, sm_count: int, unit: int = 8, cap: int | None = None, fails: str = "", *, mps: bool = True
    ) -> None:
        self.sm_count = sm_count
        self.unit = unit
        self.cap = sm_count if cap is None else cap
        self.fails = fails
        self.mps = mps
        self.green: dict[int, list[int]] = {}
        self._current = threading.local()
        self._handles = 0

    @property
    def current(self) -> list[int]:
        """Contexts that were made current in this thread, the last one in effect."""
        stack: list[int] = self._current.__dict__.setdefault("stack", [])
        return stack

    def is_mps_client(self) -> bool:
        return self.mps

    def visible_sms(self) -> int:
        return self.cap

    def all_sms(self) -> SmResource:
        return SmResource(type=1, sm_count=self.sm_count)

    def split_sms(self, resource: SmResource) -> list[SmResource]:
        self._check("split")
        groups = [SmResource(type=1, sm_count=self.unit) for _ in range(resource.sm_count // self.unit)]
        for number, group in enumerate(groups):
            group.internal[0] = number
        return groups

    def green_stream(self, groups: Sequence[SmResource]) -> GreenStream:
        self._check("green")
        handle = self._handle()
        self.green[handle] = [group.internal[0] for group in groups]
        return GreenStream(handle, sum(group.sm_count for group in groups))

    def capped_context(self, sms: int) -> CappedContext:
        self._check("capped")
        rounded = min(self.cap, -(-sms // 2) * 2)
        return CappedContext(self._handle(), self._handle(), rounded)

    def stream(self) -> int:
        return self._handle()

    def push(self, context: int) -> None:
        self.current.append(context)

    def pop(self) -> None:
        self._check("pop")
        self.current.pop()

    def _handle(self) -> int:
        self._handles += 1
        return self._handles

    def _check(self, call: str) -> None:
        if call == self.fails:
            raise LoadError(f"{call} failed: CUDA_ERROR_NOT_SUPPORTED")
