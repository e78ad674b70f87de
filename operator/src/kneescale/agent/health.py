"""How the devices are, told to the kubelet, which shows it in the pods' status (KEP-4680)."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from threading import Event

import grpc

from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.agent.proto import dra_health_v1alpha1_pb2 as health

_SERVICE = "v1alpha1.DRAResourceHealth"
#: The kubelet takes what is older than 30 s for unknown.
_PERIOD_S = 10.0


def health_handler(
    node_name: str, hosts: Mapping[str, DispatcherHost], stop: Event
) -> grpc.GenericRpcHandler:
    """The gRPC service that the kubelet keeps a stream to; streams end at `stop`."""

    def watch(_: health.NodeWatchResourcesRequest, context: grpc.ServicerContext) -> Iterator[object]:
        while context.is_active() and not stop.is_set():
            devices = [_device_health(node_name, host) for host in hosts.values()]
            yield health.NodeWatchResourcesResponse(devices=devices)
            stop.wait(_PERIOD_S)

    return grpc.method_handlers_generic_handler(
        _SERVICE,
        {
            "NodeWatchResources": grpc.unary_stream_rpc_method_handler(
                watch,
                request_deserializer=health.NodeWatchResourcesRequest.FromString,
                response_serializer=health.NodeWatchResourcesResponse.SerializeToString,
            )
        },
    )


def _device_health(node_name: str, host: DispatcherHost) -> health.DeviceHealth:
    turning = host.is_turning
    return health.DeviceHealth(
        device=health.DeviceIdentifier(pool_name=node_name, device_name=host.device),
        health=health.HEALTHY if turning else health.UNHEALTHY,
        last_updated_time=int(datetime.now(UTC).timestamp()),
        message="" if turning else "the agent's dispatcher of this device is stuck",
    )
