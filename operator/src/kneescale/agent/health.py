"""How the devices are, told to the kubelet, which shows it in the pods' status (KEP-4680)."""

import time
from collections.abc import Iterator, Mapping
from threading import Event

import grpc

from kneescale.agent.backend import Backend, Device
from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.agent.proto import dra_health_v1alpha1_pb2 as health

_SERVICE = "v1alpha1.DRAResourceHealth"
#: The kubelet takes what is older than 30 s for unknown.
_PERIOD_S = 10.0


def health_handler(
    node_name: str, backend: Backend, hosts: Mapping[str, DispatcherHost], stop: Event
) -> grpc.GenericRpcHandler:
    """The gRPC service that the kubelet keeps a stream to; streams end at `stop`."""

    def watch(_: health.NodeWatchResourcesRequest, context: grpc.ServicerContext) -> Iterator[object]:
        while context.is_active() and not stop.is_set():
            devices = [
                _device_health(node_name, device, hosts.get(device.name)) for device in backend.devices()
            ]
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


def _device_health(node_name: str, device: Device, host: DispatcherHost | None) -> health.DeviceHealth:
    ailment = _ailment(device, host)
    return health.DeviceHealth(
        device=health.DeviceIdentifier(pool_name=node_name, device_name=device.name),
        health=health.UNHEALTHY if ailment else health.HEALTHY,
        last_updated_time=int(time.time()),
        message=ailment,
    )


def _ailment(device: Device, host: DispatcherHost | None) -> str:
    """What is wrong with a device; a host that is not there yet is about to be."""
    if device.sickness:
        return f"the device is sick: {device.sickness}"
    return "the agent's dispatcher of this device is stuck" if host and not host.is_turning else ""
