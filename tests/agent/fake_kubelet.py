"""A kubelet as far as DRA drivers see it: finds a registration socket, registers, prepares and unprepares."""

from pathlib import Path

import grpc

from kneescale.agent.proto import dra_health_v1alpha1_pb2 as dra_health
from kneescale.agent.proto import dra_v1_pb2 as dra
from kneescale.agent.proto import pluginregistration_v1_pb2 as registration
from tests.waiting import wait_until

_DEADLINE_S = 60.0


class FakeKubelet:
    """Speaks over real Unix sockets; keeps what the plugin told about itself in `info`."""

    def __init__(self, kubelet_dir: Path) -> None:
        self._registry = kubelet_dir / "plugins_registry"
        self._driver: grpc.Channel | None = None
        self.info = registration.PluginInfo()

    def register(self) -> None:
        """Wait for a plugin, ask who it is, connect to its endpoint and tell it that it is registered."""
        with grpc.insecure_channel(f"unix://{self._wait_for_socket()}") as channel:
            get_info = channel.unary_unary(
                "/pluginregistration.Registration/GetInfo",
                request_serializer=registration.InfoRequest.SerializeToString,
                response_deserializer=registration.PluginInfo.FromString,
            )
            self.info = get_info(registration.InfoRequest(), timeout=_DEADLINE_S, wait_for_ready=True)
            notify = channel.unary_unary(
                "/pluginregistration.Registration/NotifyRegistrationStatus",
                request_serializer=registration.RegistrationStatus.SerializeToString,
                response_deserializer=registration.RegistrationStatusResponse.FromString,
            )
            notify(registration.RegistrationStatus(plugin_registered=True), timeout=_DEADLINE_S)
        self.close()
        self._driver = grpc.insecure_channel(f"unix://{self.info.endpoint}")

    def prepare(self, *claims: dra.Claim) -> dict[str, dra.NodePrepareResourceResponse]:
        """NodePrepareResources; answers by claim uid."""
        call = self._channel.unary_unary(
            "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources",
            request_serializer=dra.NodePrepareResourcesRequest.SerializeToString,
            response_deserializer=dra.NodePrepareResourcesResponse.FromString,
        )
        request = dra.NodePrepareResourcesRequest(claims=claims)
        return dict(call(request, timeout=_DEADLINE_S, wait_for_ready=True).claims)

    def unprepare(self, *claims: dra.Claim) -> dict[str, dra.NodeUnprepareResourceResponse]:
        """NodeUnprepareResources; answers by claim uid."""
        call = self._channel.unary_unary(
            "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodeUnprepareResources",
            request_serializer=dra.NodeUnprepareResourcesRequest.SerializeToString,
            response_deserializer=dra.NodeUnprepareResourcesResponse.FromString,
        )
        request = dra.NodeUnprepareResourcesRequest(claims=claims)
        return dict(call(request, timeout=_DEADLINE_S, wait_for_ready=True).claims)

    def health(self) -> dict[str, str]:
        """The first answer of NodeWatchResources: what ails each device, empty for a healthy one."""
        call = self._channel.unary_stream(
            "/v1alpha1.DRAResourceHealth/NodeWatchResources",
            request_serializer=dra_health.NodeWatchResourcesRequest.SerializeToString,
            response_deserializer=dra_health.NodeWatchResourcesResponse.FromString,
        )
        stream = call(dra_health.NodeWatchResourcesRequest(), timeout=_DEADLINE_S, wait_for_ready=True)
        answer = next(stream)
        stream.cancel()
        return {found.device.device_name: found.message for found in answer.devices}

    def close(self) -> None:
        """Drop the connection to the driver."""
        if self._driver is not None:
            self._driver.close()

    @property
    def _channel(self) -> grpc.Channel:
        assert self._driver is not None, "register first"
        return self._driver

    def _wait_for_socket(self) -> Path:
        wait_until(
            lambda: any(self._registry.glob("*.sock")), f"a plugin in {self._registry}", timeout_s=_DEADLINE_S
        )
        return next(self._registry.glob("*.sock"))
