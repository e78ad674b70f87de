"""The Open Inference Protocol v2 over REST, and the metrics page."""

import logging
import socket
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web

from kneescale.core.errors import InvalidInputError, KneescaleError
from kneescale_worker import rest_codec
from kneescale_worker.accounts import Arrival, RequestAccounts
from kneescale_worker.connection_age import ConnectionAges
from kneescale_worker.dataplane import (
    CLOSING_GRACE_S,
    EXTENSIONS,
    LARGEST_MESSAGE_BYTES,
    MODEL_VERSION,
    SERVER_NAME,
    SERVER_VERSION,
    DataPlane,
    State,
)
from kneescale_worker.errors import ModelNotFoundError, QueueFullError, TooLateError, UnavailableError
from kneescale_worker.metrics import Metrics
from kneescale_worker.tensors import TensorSpec

_log = logging.getLogger(__name__)
_STATUS: dict[type[KneescaleError], HTTPStatus] = {
    InvalidInputError: HTTPStatus.BAD_REQUEST,
    ModelNotFoundError: HTTPStatus.NOT_FOUND,
    QueueFullError: HTTPStatus.SERVICE_UNAVAILABLE,
    TooLateError: HTTPStatus.SERVICE_UNAVAILABLE,
    UnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
}
#: The least that a 503 can tell clients to wait.
_RETRY_AFTER_S = 1
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class RestServer:
    """Serves the data plane on one port and the metrics on another."""

    def __init__(self, plane: DataPlane, accounts: RequestAccounts, metrics: Metrics) -> None:
        self._plane = plane
        self._accounts = accounts
        self._metrics = metrics
        self._ages = ConnectionAges()
        self._runners: list[web.AppRunner] = []

    async def start(self, http_port: int, metrics_port: int) -> None:
        """Listen on both ports."""
        await self._listen(self._protocol_app(), http_port)
        await self._listen(self._metrics_app(), metrics_port)

    async def stop(self) -> None:
        """Stop listening; requests in flight get a moment to end."""
        for runner in self._runners:
            await runner.cleanup()

    async def _listen(self, app: web.Application, port: int) -> None:
        # A request whose client went away is cancelled, so that no batch runs for it.
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=CLOSING_GRACE_S
        )
        await runner.setup()
        self._runners.append(runner)
        await web.SockSite(runner, _listening_socket(port)).start()

    def _metrics_app(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/metrics", self._render_metrics)])
        return app

    def _protocol_app(self) -> web.Application:
        app = web.Application(middlewares=[self._answer])
        app.add_routes(
            [
                web.get("/v2", self._server_metadata),
                web.get("/v2/health/live", self._live),
                web.get("/v2/health/ready", self._ready),
            ]
        )
        for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            app.add_routes(
                [
                    web.get(model, self._model_metadata),
                    web.get(f"{model}/ready", self._model_ready),
                    web.post(f"{model}/infer", self._infer),
                ]
            )
        return app

    @web.middleware
    async def _answer(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Turn errors into the protocol's error objects; send clients elsewhere where it is time for that."""
        try:
            response = await handler(request)
        except KneescaleError as error:
            status = _STATUS.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)
            response = web.json_response({"error": str(error)}, status=status)
            if status is HTTPStatus.SERVICE_UNAVAILABLE:
                response.headers["Retry-After"] = str(_RETRY_AFTER_S)
        except web.HTTPException as error:
            response = _failure(request, error.text or error.reason, error.status)
        except Exception:  # noqa: BLE001  (whatever it is, the client gets an error object, and the log tells)
            _log.exception("%s %s failed", request.method, request.path)
            message = "the worker failed; its log says why"
            response = _failure(request, message, HTTPStatus.INTERNAL_SERVER_ERROR)
        connection = request.transport
        is_over = connection is not None and self._ages.is_over(connection, time.monotonic_ns())
        if is_over or self._plane.state is State.DRAINING:
            response.force_close()
        return response

    async def _render_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), headers={"Content-Type": _METRICS_TYPE})

    async def _live(self, _: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def _ready(self, _: web.Request) -> web.Response:
        return self._readiness({})

    async def _model_ready(self, request: web.Request) -> web.Response:
        self._check_model(request)
        return self._readiness({"name": self._plane.model_name})

    def _readiness(self, fields: dict[str, Any]) -> web.Response:
        status = HTTPStatus.OK if self._plane.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return web.json_response(fields | {"ready": self._plane.ready}, status=status)

    async def _server_metadata(self, _: web.Request) -> web.Response:
        return web.json_response({"name": SERVER_NAME, "version": SERVER_VERSION, "extensions": EXTENSIONS})

    async def _model_metadata(self, request: web.Request) -> web.Response:
        self._check_model(request)
        metadata = self._plane.metadata
        return web.json_response(
            {
                "name": self._plane.model_name,
                "versions": [MODEL_VERSION],
                "platform": metadata.platform,
                "inputs": [_described(spec) for spec in metadata.inputs],
                "outputs": [_described(spec) for spec in metadata.outputs],
            }
        )

    async def _infer(self, request: web.Request) -> web.Response:
        with self._accounts.request() as arrival:
            self._check_model(request)
            self._plane.check_loaded()
            body = await _body(request, arrival)
            call, style = rest_codec.decode(body, request.headers.get(rest_codec.HEADER_LENGTH))
            answer = await self._plane.infer(call, arrival.ns)
            body, json_length = rest_codec.encode(self._plane.model_name, answer, style)
        if json_length is None:
            return web.Response(body=body, content_type="application/json")
        headers = {rest_codec.HEADER_LENGTH: str(json_length)}
        return web.Response(body=body, content_type="application/octet-stream", headers=headers)

    def _check_model(self, request: web.Request) -> None:
        self._plane.check_model(request.match_info["model"], request.match_info.get("version", ""))


async def _body(request: web.Request, arrival: Arrival) -> bytes:
    body = bytearray()
    try:
        while chunk := await request.content.readany():
            arrival.received(len(chunk))
            body += chunk
            if len(body) > LARGEST_MESSAGE_BYTES:
                raise web.HTTPRequestEntityTooLarge(LARGEST_MESSAGE_BYTES)
    except web.RequestPayloadError as error:
        raise InvalidInputError("the request's body is not encoded as its headers say") from error
    return bytes(body)


def _failure(request: web.Request, message: str, status: int) -> web.Response:
    return web.json_response({"error": f"{request.method} {request.path}: {message}"}, status=status)


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _listening_socket(port: int) -> socket.socket:
    """On every address, of both families where the machine has both."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
    return socket.create_server(("", port), backlog=1024)
