"""The kopf handlers: they only remember what the watches tell, and wake the loop."""

from collections.abc import Awaitable, Callable
from time import monotonic

import kopf

from kneescale.controller.loop import Loop
from kneescale.controller.observe import World
from kneescale.controller.resources import Kind

_HEALTH_ENDPOINT = "http://0.0.0.0:8080/healthz"
#: Requests have timeouts and pauses end with the resync: a longer silence calls for a new start.
_LONGEST_CYCLE_S = 300.0


async def watch(world: World, loop: Loop) -> None:
    """Feed the world from the API server's watches, waking the loop, until a signal.

    Only event handlers: kopf then writes nothing to the objects, neither finalizer nor annotation.
    """
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(kopf.login_via_client)
    for kind in world.kinds:
        on_event = kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=registry)
        on_event(_remember(kind, world, loop))
    kopf.on.probe(id="loop", registry=registry, errors=kopf.ErrorsMode.PERMANENT)(_sign_of_life(loop))
    await kopf.operator(
        registry=registry,
        settings=_settings(world),
        standalone=True,
        clusterwide=True,
        liveness_endpoint=_HEALTH_ENDPOINT,
    )


def _settings(world: World) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # Watches are back within seconds after the API server is; kopf's own steps go up to 21 s.
    settings.networking.error_backoffs = (1, 1, 2, 3, 5, 5, 5, 5, 5, 5)
    # All kinds were listed before this: no need for permission to look for CRDs and namespaces.
    settings.scanning.disabled = True
    for kind in world.kinds:
        key = (kind.group, kind.version, kind.plural)
        if kind.label_selector:
            settings.watching.label_selectors[key] = kind.label_selector
        if kind.field_selector:
            settings.watching.field_selectors[key] = kind.field_selector
    return settings


def _remember(kind: Kind, world: World, loop: Loop) -> Callable[..., Awaitable[None]]:
    wake = loop.wake_soon if kind.restless else loop.wake

    async def remember(event: kopf.RawEvent, **_: object) -> None:
        take_in = world.saw_deleted if event["type"] == "DELETED" else world.saw
        if take_in(kind, kind.shorten(dict(event["object"]))):  # else it is the echo of our own write
            wake()

    return remember


def _sign_of_life(loop: Loop) -> Callable[..., Awaitable[str]]:
    async def sign_of_life(**_: object) -> str:
        silence_s = monotonic() - loop.last_cycle_s
        if silence_s > _LONGEST_CYCLE_S:
            raise kopf.PermanentError(f"the reconcile loop has been silent for {silence_s:.0f} s")
        return f"last cycle {silence_s:.0f} s ago"

    return sign_of_life
