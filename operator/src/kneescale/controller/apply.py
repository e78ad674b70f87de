"""Sends writes to the API server, each model's apart from the others'."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from time import monotonic

from kneescale.api.meta import parse_metadata
from kneescale.controller.api_server import ApiError, ApiServer
from kneescale.controller.difference import Verb, Write
from kneescale.controller.failures import Failures
from kneescale.controller.metrics import Metrics
from kneescale.controller.observe import World, key_of
from kneescale.controller.resources import Object, kind_of
from kneescale.plan.workloads import is_made_for_a_model

logger = logging.getLogger(__name__)

_MODELS_AT_ONCE = 8


class Applier:
    """Applies differences; what fails is tried again later, and holds up no other model."""

    def __init__(self, api: ApiServer, world: World, failures: Failures, metrics: Metrics) -> None:
        self._api = api
        self._world = world
        self._failures = failures
        self._metrics = metrics
        self._places = asyncio.Semaphore(_MODELS_AT_ONCE)

    async def apply(self, writes: Sequence[Write]) -> None:
        """Send the writes that are due: of one model in their order, of different models side by side."""
        self._failures.keep_only({write.item for write in writes})
        due = [write for write in writes if self._failures.may_try(write.item, monotonic())]
        async with asyncio.TaskGroup() as group:
            for batch in _by_model(due):
                group.create_task(self._send_in_order(batch))

    async def _send_in_order(self, writes: Sequence[Write]) -> None:
        async with self._places:
            for write in writes:
                await self._send(write)

    async def _send(self, write: Write) -> None:
        item = write.item
        try:
            await self._request(write)
        except ApiError as error:
            self._metrics.wrote(item.verb, item.kind, done=False)
            message = f"{item}: {error}"
            delay_s = self._failures.failed(item, write.models, message, monotonic())
            logger.warning("cannot %s; next try in %.0f s", message, delay_s, extra=write.about)
        else:
            self._metrics.wrote(item.verb, item.kind, done=True)
            self._failures.succeeded(item)
            # Statuses hold measurements, so they are written all the time.
            level = logging.DEBUG if item.verb is Verb.APPLY_STATUS else logging.INFO
            logger.log(level, "%s", item, extra=write.about)

    async def _request(self, write: Write) -> None:
        if write.verb is Verb.DELETE:
            await self._api.delete(write.obj, write.grace_s)
            return
        is_status = write.verb is Verb.APPLY_STATUS
        answer = await (self._api.apply(write.obj, "status") if is_status else self._apply(write.obj))
        # The answer is newer than what the watch has told: the next cycle must not write the same again.
        self._world.saw(kind_of(write.obj), answer)

    async def _apply(self, manifest: Object) -> Object:
        """Make an object, or change it where the operator made it: its name may be taken by somebody else."""
        kind = kind_of(manifest)
        if not kind.label_selector:
            return await self._api.apply(manifest)
        # The world has those with the operator's label alone.
        found = self._world.find(kind, key_of(manifest)) or await self._api.get(manifest)
        if found is None:
            return await self._api.apply(manifest, force=False)
        if not is_made_for_a_model(parse_metadata(found)):
            message = f"somebody else's {kind.name} has this name: rename it, or the InferenceModel"
            raise ApiError(HTTPStatus.CONFLICT, message)
        return await self._api.apply(_with_uid(manifest, found["metadata"]["uid"]))


def _with_uid(manifest: Object, uid: str) -> Object:
    """The manifest for this very object, and for none that has taken its name since."""
    return {**manifest, "metadata": {**manifest["metadata"], "uid": uid}}


def _by_model(writes: Iterable[Write]) -> Iterable[list[Write]]:
    """Group the writes by model; one that is for no single model stands alone."""
    groups: dict[object, list[Write]] = {}
    for write in writes:
        groups.setdefault(write.model or write.item, []).append(write)
    return groups.values()
