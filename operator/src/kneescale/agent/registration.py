"""How the kubelet's plugin watcher gets to know the driver: a socket that tells who we are."""

import logging
from pathlib import Path

import grpc

from kneescale.agent.dra import SUPPORTED_VERSIONS
from kneescale.agent.proto import pluginregistration_v1_pb2 as registration
from kneescale.api.names import DRIVER

log = logging.getLogger(__name__)

_SERVICE = "pluginregistration.Registration"
_PLUGIN_TYPE = "DRAPlugin"


def registration_handler(dra_socket: Path) -> grpc.GenericRpcHandler:
    """The gRPC service that the plugin watcher calls; it then calls the driver at `dra_socket`."""

    def get_info(request: registration.InfoRequest, _: object) -> registration.PluginInfo:
        return registration.PluginInfo(
            type=_PLUGIN_TYPE, name=DRIVER, endpoint=str(dra_socket), supported_versions=SUPPORTED_VERSIONS
        )

    def notify(status: registration.RegistrationStatus, _: object) -> registration.RegistrationStatusResponse:
        if status.plugin_registered:
            log.info("the kubelet registered driver %s", DRIVER)
        else:
            log.error("the kubelet refused driver %s: %s", DRIVER, status.error)
        return registration.RegistrationStatusResponse()

    return grpc.method_handlers_generic_handler(
        _SERVICE,
        {
            "GetInfo": grpc.unary_unary_rpc_method_handler(
                get_info,
                request_deserializer=registration.InfoRequest.FromString,
                response_serializer=registration.PluginInfo.SerializeToString,
            ),
            "NotifyRegistrationStatus": grpc.unary_unary_rpc_method_handler(
                notify,
                request_deserializer=registration.RegistrationStatus.FromString,
                response_serializer=registration.RegistrationStatusResponse.SerializeToString,
            ),
        },
    )
