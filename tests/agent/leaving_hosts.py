"""The hosts of a node whose one device goes between being listed and being looked up."""

from collections.abc import ItemsView, Iterator, Mapping

from kneescale.agent.dispatcher_host import DispatcherHost


class LeavingHosts(Mapping[str, DispatcherHost]):
    """As DeviceHosts are then: `items` alone is of one moment."""

    def __init__(self, host: DispatcherHost) -> None:
        self._hosts = {host.device: host}

    def __getitem__(self, device: str) -> DispatcherHost:
        raise KeyError(device)

    def __iter__(self) -> Iterator[str]:
        return iter(self._hosts)

    def __len__(self) -> int:
        return len(self._hosts)

    def items(self) -> ItemsView[str, DispatcherHost]:
        """The device and its host, while it was there."""
        return self._hosts.items()
