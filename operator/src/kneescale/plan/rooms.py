"""How much memory and how many clients the existing claims leave of each device."""

from collections.abc import Iterable

from kneescale.api.resource_slice import GpuDevice
from kneescale.plan.workloads import Claim


class Rooms:
    """The room left on each device while the plan takes of it; draining workers still hold theirs."""

    def __init__(self, devices: Iterable[GpuDevice], claims: Iterable[Claim]) -> None:
        self._free_bytes = {device.uuid: device.memory_bytes for device in devices}
        self._free_clients = {device.uuid: device.clients for device in devices}
        for claim in claims:
            if claim.device_uuid in self._free_bytes:
                self._take(claim.device_uuid, claim.memory_bytes)

    def free_bytes(self, device_uuid: str) -> int:
        """Memory that no claim holds."""
        return self._free_bytes[device_uuid]

    def try_take(self, device_uuid: str, memory_bytes: int) -> bool:
        """Take room for one more claim, if there is enough."""
        fits = memory_bytes <= self._free_bytes[device_uuid] and self._free_clients[device_uuid] > 0
        if fits:
            self._take(device_uuid, memory_bytes)
        return fits

    def _take(self, device_uuid: str, memory_bytes: int) -> None:
        self._free_bytes[device_uuid] -= memory_bytes
        self._free_clients[device_uuid] -= 1
