"""The Open Inference Protocol v2 over gRPC."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from kneescale.core.errors import InvalidInputError, KneescaleError
from kneescale.core.units import MS_PER_S
from kneescale_worker import grpc_codec
from kneescale_worker.accounts import RequestAccounts
from kneescale_worker.connection_age import CONNECTION_AGE_S
from kneescale_worker.dataplane import (
    CLOSING_GRACE_S,
    EXTENSIONS,
    LARGEST_MESSAGE_BYTES,
    MODEL_VERSION,
    SERVER_NAME,
    SERVER_VERSION,
    DataPlane,
)
from kneescale_worker.errors import ModelNotFoundError, QueueFullError, TooLateError, UnavailableError
from kneescale_worker.proto import open_inference_pb2 as pb
from kneescale_worker.tensors import TensorSpec

_SERVICE = "inference.GRPCInferenceService"
_CODES: dict[type[KneescaleError], grpc.StatusCode] = {
    InvalidInputError: grpc.StatusCode.INVALID_ARGUMENT,
    ModelNotFoundError: grpc.StatusCode.NOT_FOUND,
    # Not UNAVAILABLE: clients retry that by themselves, which makes an overload worse. Nor DEADLINE_EXCEEDED,
    # which is what a client says of its own deadline.
    QueueFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooLateError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
}
#: Clients may ask this often whether a silent connection lives (gRPC's own default: 5 min, then it hangs up).
#: They need that to leave a node that lost its power or its network: nothing else tells them.
_LEAST_KEEPALIVE_MS = 2_000
_OPTIONS = (
    ("grpc.max_receive_message_length", LARGEST_MESSAGE_BYTES),
    ("grpc.max_send_message_length", LARGEST_MESSAGE_BYTES),
    ("grpc.max_connection_age_ms", CONNECTION_AGE_S * MS_PER_S),
    ("grpc.http2.min_ping_interval_without_data_ms", _LEAST_KEEPALIVE_MS),
    # A port that is taken is an error, not something to share.
    ("grpc.so_reuseport", 0),
)

_Context = grpc.aio.ServicerContext[Any, Any]
_Method = Callable[[Any], Awaitable[Any]]


class GrpcServer:
    """Serves the data plane; unary calls only."""

    def __init__(self, plane: DataPlane, accounts: RequestAccounts) -> None:
        self._plane = plane
        self._accounts = accounts
        self._server = grpc.aio.server(options=_OPTIONS)
        methods: dict[str, tuple[_Method, Any]] = {
            "ServerLive": (self._server_live, pb.ServerLiveRequest),
            "ServerReady": (self._server_ready, pb.ServerReadyRequest),
            "ModelReady": (self._model_ready, pb.ModelReadyRequest),
            "ServerMetadata": (self._server_metadata, pb.ServerMetadataRequest),
            "ModelMetadata": (self._model_metadata, pb.ModelMetadataRequest),
            "ModelInfer": (self._model_infer, pb.ModelInferRequest),
        }
        handlers = {name: _handler(method, request) for name, (method, request) in methods.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))

    async def start(self, port: int) -> None:
        """Listen on every address."""
        self._server.add_insecure_port(f"[::]:{port}")
        await self._server.start()

    async def stop(self) -> None:
        """Take no more calls; those in flight get a moment to end."""
        await self._server.stop(CLOSING_GRACE_S)

    async def _server_live(self, _: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, _: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._plane.ready)

    async def _model_ready(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        self._plane.check_model(request.name, request.version)
        return pb.ModelReadyResponse(ready=self._plane.ready)

    async def _server_metadata(self, _: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name=SERVER_NAME, version=SERVER_VERSION, extensions=EXTENSIONS)

    async def _model_metadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        self._plane.check_model(request.name, request.version)
        metadata = self._plane.metadata
        return pb.ModelMetadataResponse(
            name=self._plane.model_name,
            versions=[MODEL_VERSION],
            platform=metadata.platform,
            inputs=[_described(spec) for spec in metadata.inputs],
            outputs=[_described(spec) for spec in metadata.outputs],
        )

    async def _model_infer(self, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        with self._accounts.request() as arrival:
            arrival.received(request.ByteSize())
            self._plane.check_model(request.model_name, request.model_version)
            self._plane.check_loaded()
            answer = await self._plane.infer(grpc_codec.decode(request), arrival.ns)
            return grpc_codec.encode(self._plane.model_name, answer, raw=bool(request.raw_input_contents))


# The return type is quoted: it is generic in the type stubs alone.
def _handler(method: _Method, request_class: Any) -> "grpc.RpcMethodHandler[Any, Any]":  # noqa: ANN401
    """The method with its errors turned into status codes."""

    async def answer(request: Any, context: _Context) -> Any:  # noqa: ANN401
        try:
            return await method(request)
        except KneescaleError as error:
            code = _CODES.get(type(error), grpc.StatusCode.INTERNAL)
            return await context.abort(code, str(error))

    return grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=request_class.FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )


def _described(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=spec.shape)
