"""The dispatcher hosts of a node, one for each device that is there: they come and go with it."""

from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from threading import Thread

from kneescale.agent.backend import Device
from kneescale.agent.dispatcher_host import DispatcherHost

_GRACE_S = 3.0

MakeHost = Callable[[str], DispatcherHost]
#: Runs a function in a thread of that name.
StartThread = Callable[[str, Callable[[], None]], Thread]


class DeviceHosts(Mapping[str, DispatcherHost]):
    """Hosts by device name, for any thread to read; one thread at a time calls `follow` or `stop`.

    Whoever goes through `items` or `values` sees those of one moment: the dictionary is replaced, never
    changed. Not so `dict(hosts)`, which looks each name up after it has listed them.
    """

    def __init__(self, make_host: MakeHost, start_thread: StartThread) -> None:
        self._make_host = make_host
        self._start_thread = start_thread
        self._hosts: dict[str, DispatcherHost] = {}
        self._threads: dict[str, Thread] = {}

    def __getitem__(self, device: str) -> DispatcherHost:
        return self._hosts[device]

    def __iter__(self) -> Iterator[str]:
        return iter(self._hosts)

    def __len__(self) -> int:
        return len(self._hosts)

    def items(self) -> ItemsView[str, DispatcherHost]:
        """Names and hosts of one moment; Mapping's own would look each name up later."""
        return self._hosts.items()

    def values(self) -> ValuesView[DispatcherHost]:
        """Hosts of one moment."""
        return self._hosts.values()

    def follow(self, devices: Iterable[Device]) -> None:
        """Start a host for each new device; hang up on the workers of one that is no more."""
        names = [device.name for device in devices]
        gone = [name for name in self._hosts if name not in names]
        leaving = [(self._hosts[name], self._threads.pop(name)) for name in gone]
        new = {name: self._make_host(name) for name in names if name not in self._hosts}
        self._hosts = {name: new.get(name) or self._hosts[name] for name in names}
        for name, host in new.items():
            self._threads[name] = self._start_thread(f"dispatcher-{name}", host.run)
        _end(leaving)

    def stop(self) -> None:
        """Hang up on all workers, and wait for the threads."""
        _end([(host, self._threads[name]) for name, host in self._hosts.items()])


def _end(hosts: list[tuple[DispatcherHost, Thread]]) -> None:
    for host, _ in hosts:
        host.stop()
    for _, thread in hosts:
        thread.join(_GRACE_S)
