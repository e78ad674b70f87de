"""Full listings: the world at the start, and what heals a watch that missed something."""

import asyncio
import logging
from http import HTTPStatus
from time import monotonic

from kneescale.controller.api_server import ApiError, ApiServer, Listing
from kneescale.controller.observe import World
from kneescale.controller.resources import Kind
from kneescale.core.backoff import Backoff
from kneescale.core.errors import KneescaleError

logger = logging.getLogger(__name__)

_BACKOFF = Backoff(first_s=0.5, longest_s=10)


async def list_all(api: ApiServer, world: World) -> None:
    """Take in every object of every kind.

    Raises KneescaleError when the API server does not answer or lacks a kind.
    """
    for kind in world.kinds:
        world.saw_all(kind, await _list(api, kind))


async def list_all_at_start(api: ApiServer, world: World, patience_s: float) -> None:
    """List, waiting for the API server and for CRDs that are yet to be applied.

    Raises KneescaleError, saying what to do, when that takes longer than `patience_s`.
    """
    give_up_s, failures = monotonic() + patience_s, 0
    while True:
        try:
            return await list_all(api, world)
        except KneescaleError as error:
            failures += 1
            delay_s = _BACKOFF.wait_s(failures)
            if monotonic() + delay_s > give_up_s:
                raise
            logger.warning("cannot start yet: %s; next try in %.1f s", error, delay_s)
        await asyncio.sleep(delay_s)


async def _list(api: ApiServer, kind: Kind) -> Listing:
    try:
        return await api.list(kind)
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        raise KneescaleError(f"the API server has no {kind.plural}: apply the CRDs ({error})") from error
