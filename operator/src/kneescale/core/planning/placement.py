"""Which model goes on which devices: pure, deterministic, and loath to move what runs.

A device is bounded by its GPU area, memory and clients, never by the sum of GPU%: sharing in time lets that
pass 100. Models are taken by area, largest first (those that have grown past what was expected of them after
the others), each to the device it leaves the most area free
(docs/adr/0010). A plan for GPUs that are yet to be bought packs them instead.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kneescale.core.planning.configuration import Configuration
from kneescale.core.units import GIB, PERMILLE, WHOLE_GPU_PERCENT, ceil_div

#: The rest of a GPU's area is left for bursts and for gaps that no batch fits.
DEFAULT_AREA_LIMIT_PERMILLE = 850

#: Each pass can only use what the one before set free; more passes than this changed nothing in any test.
_MAX_PASSES = 8


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU (or what stands in for it) and its limits; `clients` is how many partitions it can hold."""

    uuid: str
    node: str
    name: str
    product: str
    memory_bytes: int
    clients: int


@dataclass(frozen=True, slots=True)
class Demand:
    """What one model asks for; it can only go on devices of the products in `configurations`.

    The configurations are for the model's whole rate: each of n replicas takes an n-th of their area.
    `leaves` are uuids of devices on which it only stays where there is no room elsewhere. An elastic model
    runs already, and has grown: where there is no room for all of it, it keeps what there is.
    """

    model: str
    configurations: Mapping[str, Configuration]
    memory_bytes: int
    min_replicas: int
    max_replicas: int
    #: Uuids of devices that it cannot newly go on.
    closed: frozenset[str] = frozenset()
    leaves: frozenset[str] = frozenset()
    is_elastic: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """The devices of a model's replicas, each on a device of its own, in an order that does not change.

    `shortfall` says in numbers why there are fewer replicas than wanted, `stuck` why some are on devices
    that the model is to leave; None when there are none such. `squeezed` says why its devices have less
    room for it than it needs, and `missing_permille` how much of a device's area that is.
    """

    devices: tuple[str, ...]
    shortfall: str | None = None
    stuck: str | None = None
    squeezed: str | None = None
    missing_permille: int = 0


@dataclass(frozen=True, slots=True)
class Unplaced:
    """No device can take the model; `reason` says why, in numbers."""

    reason: str


def place(
    demands: Iterable[Demand],
    devices: Iterable[Device],
    current: Mapping[str, Sequence[str]],
    *,
    area_limit_permille: int = DEFAULT_AREA_LIMIT_PERMILLE,
) -> dict[str, Placed | Unplaced]:
    """Place every model, keeping it on its `current` device uuids (by model) wherever it still fits there.

    Placing again with the result as `current` changes nothing.
    """
    # A model that has grown past what was said of it must not drive out one that has not.
    by_area = sorted(demands, key=lambda demand: (demand.is_elastic, -_largest_area(demand), demand.model))
    in_order = sorted(devices, key=lambda device: (device.node, device.name, device.uuid))
    held = {demand.model: tuple(current.get(demand.model, ())) for demand in by_area}
    for _ in range(_MAX_PASSES):
        outcome = _pass(by_area, in_order, area_limit_permille, held, packed=False)
        settled = {
            model: placed.devices if isinstance(placed, Placed) else () for model, placed in outcome.items()
        }
        if settled == held:
            break
        held = settled
    return outcome


def pack(
    demands: Iterable[Demand], devices: Iterable[Device], *, area_limit_permille: int
) -> dict[str, Placed | Unplaced]:
    """Place every model on devices on which nothing runs, filling as few as it can.

    The largest replica first, each to the device it leaves the least area free (best fit). The devices'
    order is kept: of two that are equally full the first is taken.
    """
    by_share = sorted(
        demands, key=lambda demand: (-_largest_area(demand) / max(1, demand.min_replicas), demand.model)
    )
    nothing_runs: dict[str, tuple[str, ...]] = {demand.model: () for demand in by_share}
    return _pass(by_share, tuple(devices), area_limit_permille, nothing_runs, packed=True)


@dataclass(slots=True)
class _Room:
    """What is left of a device while a pass goes on."""

    device: Device
    free_area_permille: int
    free_bytes: int
    tenants: dict[str, tuple[int, int]] = field(default_factory=dict)

    def holds(self, demand: Demand) -> bool:
        """Whether a worker can run here, however little area is left."""
        return (
            self.device.product in demand.configurations
            and demand.memory_bytes <= self.free_bytes
            and len(self.tenants) < self.device.clients
        )

    def fits(self, demand: Demand, replicas: int) -> bool:
        return self.holds(demand) and self.free_area_after(demand, replicas) >= 0

    def add(self, demand: Demand, replicas: int) -> None:
        """The replica takes its share of the area, or what is left of it."""
        share = _share_permille(demand.configurations[self.device.product], replicas)
        self.remove(demand.model)
        self._take(demand, min(share, max(0, self.free_area_permille)))

    def keep(self, demand: Demand) -> None:
        """The worker stays in memory, whatever area is left for it."""
        self.remove(demand.model)
        self._take(demand, 0)

    def _take(self, demand: Demand, area: int) -> None:
        self.tenants[demand.model] = (area, demand.memory_bytes)
        self.free_area_permille -= area
        self.free_bytes -= demand.memory_bytes

    def remove(self, model: str) -> None:
        area, size = self.tenants.pop(model, (0, 0))
        self.free_area_permille += area
        self.free_bytes += size

    def free_area_after(self, demand: Demand, replicas: int) -> int:
        return self.free_area_permille - _share_permille(demand.configurations[self.device.product], replicas)


def _pass(
    demands: Sequence[Demand],
    devices: Sequence[Device],
    area_limit_permille: int,
    held: Mapping[str, tuple[str, ...]],
    *,
    packed: bool,
) -> dict[str, Placed | Unplaced]:
    """Keep what fits where it is, then give every model, largest first, the best number of replicas."""
    rooms = [_Room(device, area_limit_permille, device.memory_bytes) for device in devices]
    by_uuid = {room.device.uuid: room for room in rooms}
    products = {device.product for device in devices}
    kept = {
        demand.model: [by_uuid[uuid] for uuid in held[demand.model] if uuid in by_uuid] for demand in demands
    }
    for demand in demands:
        _keep(demand, kept[demand.model])
    outcome: dict[str, Placed | Unplaced] = {}
    for demand in demands:
        for room in kept[demand.model]:
            room.remove(demand.model)
        wanted = _wanted_replicas(demand, products, area_limit_permille)
        outcome[demand.model] = _place_one(demand, wanted, rooms, held[demand.model], packed=packed)
        if isinstance(outcome[demand.model], Unplaced):
            _keep(demand, kept[demand.model])
    return outcome | _squeeze_all(demands, outcome, rooms, held)


def _keep(demand: Demand, kept: Sequence[_Room]) -> None:
    """What fits where it is stays there for now; of an elastic model at least the workers do."""
    if kept and all(room.fits(demand, len(kept)) for room in kept):
        _occupy(demand, kept)
    elif demand.is_elastic:
        for room in kept:
            if room.holds(demand):
                room.keep(demand)


def _squeeze_all(
    demands: Sequence[Demand],
    outcome: Mapping[str, Placed | Unplaced],
    rooms: Sequence[_Room],
    held: Mapping[str, tuple[str, ...]],
) -> dict[str, Placed | Unplaced]:
    """What the elastic models get that there was no room for: what all others leave."""
    squeezed: dict[str, Placed | Unplaced] = {}
    for demand in demands:
        unplaced = outcome[demand.model]
        if demand.is_elastic and isinstance(unplaced, Unplaced):
            for room in rooms:
                room.remove(demand.model)
            found = _squeeze(demand, rooms, held[demand.model], unplaced.reason)
            squeezed[demand.model] = found or unplaced
    return squeezed


def _place_one(
    demand: Demand, wanted: int, rooms: Sequence[_Room], held: Sequence[str], *, packed: bool
) -> Placed | Unplaced:
    """In as many replicas as it takes, in more where they fit only with less area each, or in fewer."""
    # More replicas than devices never fit.
    most = min(demand.max_replicas, max(wanted, len(rooms)))
    for replicas in (*range(wanted, most + 1), *range(wanted - 1, 0, -1)):
        chosen = _choose(demand, replicas, rooms, held, packed=packed)
        if chosen:
            _occupy(demand, chosen)
            uuids = tuple(room.device.uuid for room in chosen)
            shortfall = None if replicas >= wanted else _why_not(demand, wanted, rooms, exclude=uuids)
            is_stuck = not demand.leaves.isdisjoint(uuids)
            stuck = _why_not(demand, replicas, rooms, exclude=uuids) if is_stuck else None
            return Placed(uuids, shortfall, stuck)
    return Unplaced(_why_not(demand, wanted, rooms))


def _squeeze(demand: Demand, rooms: Sequence[_Room], held: Sequence[str], why: str) -> Placed | None:
    """As many replicas as there may be, on the devices that it has and then the freest."""
    possible = [
        room
        for room in rooms
        if room.holds(demand)
        and (
            room.device.uuid in held
            or (room.free_area_permille > 0 and room.device.uuid not in demand.closed)
        )
    ]
    possible.sort(key=lambda room: (room.device.uuid not in held, -room.free_area_permille))
    chosen = possible[: demand.max_replicas]
    if not chosen:
        return None
    needed = max(demand.configurations[room.device.product].area_permille for room in chosen)
    free = sum(max(0, room.free_area_permille) for room in chosen)
    _occupy(demand, chosen)
    uuids = tuple(room.device.uuid for room in chosen)
    return Placed(uuids, squeezed=why, missing_permille=max(0, needed - free))


def _wanted_replicas(demand: Demand, products: Collection[str], area_limit_permille: int) -> int:
    """As few replicas as carry the rate on otherwise empty devices, within the demand's bounds."""
    needed = [
        ceil_div(configuration.area_permille, area_limit_permille)
        for product, configuration in demand.configurations.items()
        if product in products
    ]
    return min(max(demand.min_replicas, min(needed, default=1)), demand.max_replicas)


def _choose(
    demand: Demand, replicas: int, rooms: Sequence[_Room], held: Sequence[str], *, packed: bool
) -> list[_Room]:
    """The devices for so many replicas: those held first, then the freest, or packed the fullest.

    Those held that the model is to leave come last. None if there are too few.
    """
    fitting = {room.device.uuid: room for room in rooms if room.fits(demand, replicas)}
    had = [fitting.pop(uuid) for uuid in dict.fromkeys(held) if uuid in fitting]
    chosen = [room for room in had if room.device.uuid not in demand.leaves][:replicas]
    sign = 1 if packed else -1
    best_first = sorted(
        (room for uuid, room in fitting.items() if uuid not in demand.closed),
        key=lambda room: (sign * room.free_area_after(demand, replicas), len(room.tenants)),
    )
    nodes = Counter(room.device.node for room in chosen)
    last = [room for room in had if room.device.uuid in demand.leaves]
    chosen += [*_over_nodes(best_first, nodes), *last][: replicas - len(chosen)]
    return chosen if len(chosen) == replicas else []


def _over_nodes(rooms: Sequence[_Room], used: Counter[str]) -> list[_Room]:
    """The rooms in their order, but first one of each node that is used least, then a second one."""
    turns = []
    for room in rooms:
        turns.append(used[room.device.node])
        used[room.device.node] += 1
    return [room for _, room in sorted(zip(turns, rooms, strict=True), key=lambda turn: turn[0])]


def _occupy(demand: Demand, rooms: Sequence[_Room]) -> None:
    for room in rooms:
        room.add(demand, len(rooms))


def _share_permille(configuration: Configuration, replicas: int) -> int:
    return ceil_div(configuration.area_permille, replicas)


def _largest_area(demand: Demand) -> int:
    return max((configuration.area_permille for configuration in demand.configurations.values()), default=0)


def _why_not(demand: Demand, replicas: int, rooms: Sequence[_Room], exclude: Sequence[str] = ()) -> str:
    """The first limit that shuts out every device left, with the demand's number and the best device's."""
    if not rooms:
        return "the cluster has no GPU"
    rooms = [room for room in rooms if room.device.uuid not in demand.closed]
    if not rooms:
        return "no GPU takes new workers"
    candidates = [room for room in rooms if room.device.product in demand.configurations]
    if not candidates:
        wanted = " or ".join(sorted(demand.configurations)) or "(none)"
        have = ", ".join(sorted({room.device.product for room in rooms}))
        return f"no GPU of product {wanted}; the cluster has {have}"
    others = [room for room in candidates if room.device.uuid not in exclude]
    if len(others) + len(exclude) < replicas or not others:
        return f"needs {replicas} GPUs, one for each replica; the cluster has {len(candidates)} it can use"
    if all(len(room.tenants) >= room.device.clients for room in others):
        return f"every GPU holds as many models as it has clients ({max(r.device.clients for r in others)})"
    free_bytes = max(room.free_bytes for room in others)
    if free_bytes < demand.memory_bytes:
        return (
            f"needs {demand.memory_bytes / GIB:.1f} GiB of GPU memory; "
            f"the freest GPU has {free_bytes / GIB:.1f} GiB left"
        )
    return _why_no_area(demand, replicas, others)


def _why_no_area(demand: Demand, replicas: int, rooms: Sequence[_Room]) -> str:
    freest = max(rooms, key=lambda room: room.free_area_after(demand, replicas))
    configuration = demand.configurations[freest.device.product]
    area_permille = _share_permille(configuration, replicas)
    period_ms = (
        configuration.latency_ms
        * configuration.gpu_percent
        * PERMILLE
        / (WHOLE_GPU_PERCENT * max(1, area_permille))
    )
    each = f" in each of {replicas} replicas" if replicas > 1 else ""
    return (
        f"needs {configuration.gpu_percent} GPU% for {configuration.latency_ms:.3g} ms of every "
        f"{period_ms:.3g} ms{each}; "
        f"the freest GPU has {max(0, freest.free_area_permille) / 10:.3g} % of its area left"
    )
