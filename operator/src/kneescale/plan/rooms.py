"""How much memory and how many clients the existing claims leave of each device."""

from collections.abc import Iterable

from kneescale.api.resource_slice import GpuDevice
from kneescale.plan.workloads import Claim


class Rooms:
    """The room left on the devices that take new workers, while the plan takes of it.

    Draining workers still hold theirs; other devices have no room at all.
    """

    def __init__(self, devices: Iterable[GpuDevice], claims: Iterable[Claim]) -> None:
        self._free = {device.uuid: (device.memory_bytes, device.clients) for device in devices}
        for claim in claims:
            self._add(claim.device_uuid, -claim.memory_bytes, -claim.clients)

    def free_bytes(self, device_uuid: str) -> int:
        """Memory that no claim holds."""
        return self._free.get(device_uuid, (0, 0))[0]

    def has(self, device_uuid: str, memory_bytes: int, clients: int, without: Claim | None = None) -> bool:
        """Whether there is so much room, or would be without a claim that is there."""
        free_bytes, free_clients = self._free.get(device_uuid, (0, 0))
        if without and device_uuid in self._free:
            free_bytes += without.memory_bytes
            free_clients += without.clients
        return memory_bytes <= free_bytes and clients <= free_clients

    def try_take(self, device_uuid: str, memory_bytes: int, clients: int) -> bool:
        """Take room for one more claim, if there is enough."""
        fits = self.has(device_uuid, memory_bytes, clients)
        if fits:
            self._add(device_uuid, -memory_bytes, -clients)
        return fits

    def _add(self, device_uuid: str, memory_bytes: int, clients: int) -> None:
        if device_uuid in self._free:
            free_bytes, free_clients = self._free[device_uuid]
            self._free[device_uuid] = (free_bytes + memory_bytes, free_clients + clients)
