"""The operator's process: settings, connection, watches and the loop."""

import asyncio
import logging
import os
import sys
from functools import partial

from kneescale.controller import open_files
from kneescale.controller.api_server import connect
from kneescale.controller.handlers import watch
from kneescale.controller.listing import list_all_at_start
from kneescale.controller.loop import Loop
from kneescale.controller.metrics import Metrics, serve
from kneescale.controller.observe import World
from kneescale.controller.resources import WATCHED
from kneescale.controller.settings import parse_address, parse_settings
from kneescale.core.errors import InvalidInputError, KneescaleError
from kneescale.plan import plan
from kneescale.plan.state import Settings
from kneescale.telemetry import logs

logger = logging.getLogger(__name__)

#: How long the API server and the CRDs may take to appear; then the kubelet starts the operator anew.
_START_PATIENCE_S = 300.0


def main() -> int:
    """Run the operator until a signal; return the exit code, 2 for wrong settings."""
    _log_json()
    open_files.allow_as_many_as_possible()
    try:
        asyncio.run(_operate(parse_settings(os.environ), parse_address(os.environ)))
    except InvalidInputError as error:
        print(error, file=sys.stderr)  # noqa: T201 - for who started it
        return 2
    except KneescaleError as error:
        logger.error("giving up: %s", error)  # noqa: TRY400 - the message says what to do
        return 1
    return 0


def _log_json() -> None:
    """One JSON object a line, without the libraries' lines about each watched object and each probe."""
    logs.configure()
    for chatty in ("asyncio", "kopf.objects", "kopf.activities", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


async def _operate(settings: Settings, address: str) -> None:
    world = World(WATCHED)
    async with connect() as api:
        await list_all_at_start(api, world, _START_PATIENCE_S)
        metrics = Metrics()
        serve(metrics)
        loop = Loop(api, world, partial(plan, settings=settings), address, metrics)
        async with asyncio.TaskGroup() as group:
            reconciling = group.create_task(loop.run())
            await watch(world, loop)
            reconciling.cancel()
