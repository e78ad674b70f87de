"""The DRA driver: the kubelet asks, claims are prepared for containers and given back (KEP-4381)."""

import logging
from collections.abc import Collection
from threading import Lock

import grpc

from kneescale.agent import cdi
from kneescale.agent.backend import Backend, Share
from kneescale.agent.claims import ClaimFolders, PreparedClaim, check_lanes, parse_allocated_claim
from kneescale.agent.cluster_api import AwayError, ClusterApi
from kneescale.agent.node_state import NodeState
from kneescale.agent.proto import dra_v1_pb2 as dra
from kneescale.agent.settings import Settings
from kneescale.core.errors import InvalidInputError, KneescaleError

log = logging.getLogger(__name__)

#: The service's name without its package is what the kubelet wants among the supported versions.
SUPPORTED_VERSIONS = ("v1.DRAPlugin",)
_SERVICE = "k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin"


class ClaimPreparer:
    """Prepares and unprepares claims; both may be asked again at any time, and change nothing then."""

    def __init__(self, settings: Settings, backend: Backend, api: ClusterApi, state: NodeState) -> None:
        self._settings = settings
        self._backend = backend
        self._api = api
        self._state = state
        self._folders = ClaimFolders(settings.claims_dir, settings.worker_uid)
        self._lock = Lock()
        #: The uids of claims by the call that prepares each; a claim that is taken back meanwhile leaves.
        self._under_way: dict[object, str] = {}

    def prepare(self, namespace: str, name: str, uid: str) -> tuple[PreparedClaim, tuple[str, ...]]:
        """Make folder, socket and CDI device of a claim; also the CDI devices that its containers get.

        A claim that is prepared needs no API server.
        Raises KneescaleError when it cannot be read, is not for this node, or was taken back meanwhile: the
        kubelet does not wait for this call to end, and the API server may answer slowly.
        """
        call = object()
        with self._lock:
            self._under_way[call] = uid
        try:
            claim = self._find(namespace, name, uid)
            with self._lock:
                if call not in self._under_way:
                    raise InvalidInputError(f"ResourceClaim {namespace}/{name} was taken back meanwhile")
                cdi_devices = self._make(claim)
                self._state.add_claim(claim)
        finally:
            with self._lock:
                self._under_way.pop(call, None)
        return claim, cdi_devices

    def make_again(self, devices: Collection[str]) -> None:
        """Make folders and CDI devices of the prepared claims of devices that came, or came back.

        A reboot may have taken them; sockets come after.
        """
        with self._lock:
            for claim in self._state.claims():
                if claim.device in devices:
                    self._try_to_make(claim)

    def unprepare(self, uid: str) -> None:
        """Take all that back, also of calls that still prepare it."""
        with self._lock:
            self._under_way = {call: wanted for call, wanted in self._under_way.items() if wanted != uid}
            self._state.remove_claim(uid)
            cdi.remove_spec(self._settings.cdi_dir, uid)
            self._folders.remove(uid)
            self._release_others()

    def tidy(self) -> None:
        """Take back what is still ready for claims that are no more; for an agent that starts."""
        try:
            with self._lock:
                self._release_others()
        except OSError as error:
            log.warning("what claims of before had is not all taken back: %s", error)

    def _try_to_make(self, claim: PreparedClaim) -> None:
        try:
            self._make(claim)
        except (KneescaleError, OSError) as error:
            log.warning("claim %s/%s cannot be served: %s", claim.namespace, claim.name, error)

    def _make(self, claim: PreparedClaim) -> tuple[str, ...]:
        """The claim's folder and CDI device, and the CDI devices of its containers.

        Raises InvalidInputError when it asks for what the device has not.
        """
        device = next((found for found in self._backend.devices() if found.name == claim.device), None)
        if device is None:
            raise InvalidInputError(f"this node has no device {claim.device}")
        check_lanes(claim.partition, claim.lanes, device)
        share = Share(claim.uid, claim.memory_bytes, claim.clients)
        self._folders.create(claim.uid)
        self._backend.reserve(device, share)
        own = self._folders.container_edits(claim, self._backend.name, device)
        edits = own.plus(self._backend.container_edits(device, share))
        cdi.write_spec(self._settings.cdi_dir, claim.uid, edits)
        return (*edits.cdi_devices, cdi.device_id(claim.uid))

    def _release_others(self) -> None:
        self._backend.release_others({claim.uid for claim in self._state.claims()})

    def _find(self, namespace: str, name: str, uid: str) -> PreparedClaim:
        """As it was prepared; read anew where that is not all, unless the API server is away."""
        known = self._state.claim(uid)
        if known and known.is_whole:
            return known
        try:
            return self._read(namespace, name, uid)
        except AwayError:
            if known is None:
                raise
            return known

    def _read(self, namespace: str, name: str, uid: str) -> PreparedClaim:
        manifest = self._api.get_resource_claim(namespace, name)
        claim = parse_allocated_claim(manifest, self._settings.node_name)
        if claim.uid != uid:
            raise InvalidInputError(f"ResourceClaim {namespace}/{name} is {claim.uid} now, no longer {uid}")
        return claim


def dra_handler(preparer: ClaimPreparer, node_name: str) -> grpc.GenericRpcHandler:
    """The gRPC service that the kubelet calls; what goes wrong with a claim is said for that claim alone."""

    def prepare(request: dra.NodePrepareResourcesRequest, _: object) -> dra.NodePrepareResourcesResponse:
        return dra.NodePrepareResourcesResponse(
            claims={claim.uid: _prepare(preparer, node_name, claim) for claim in request.claims}
        )

    def unprepare(
        request: dra.NodeUnprepareResourcesRequest, _: object
    ) -> dra.NodeUnprepareResourcesResponse:
        return dra.NodeUnprepareResourcesResponse(
            claims={claim.uid: _unprepare(preparer, claim) for claim in request.claims}
        )

    return grpc.method_handlers_generic_handler(
        _SERVICE,
        {
            "NodePrepareResources": grpc.unary_unary_rpc_method_handler(
                prepare,
                request_deserializer=dra.NodePrepareResourcesRequest.FromString,
                response_serializer=dra.NodePrepareResourcesResponse.SerializeToString,
            ),
            "NodeUnprepareResources": grpc.unary_unary_rpc_method_handler(
                unprepare,
                request_deserializer=dra.NodeUnprepareResourcesRequest.FromString,
                response_serializer=dra.NodeUnprepareResourcesResponse.SerializeToString,
            ),
        },
    )


def _prepare(preparer: ClaimPreparer, node_name: str, asked: dra.Claim) -> dra.NodePrepareResourceResponse:
    try:
        claim, cdi_devices = preparer.prepare(asked.namespace, asked.name, asked.uid)
    except (KneescaleError, OSError) as error:
        log.warning(
            "claim %s/%s is not prepared: %s", asked.namespace, asked.name, error, extra=_about(asked)
        )
        return dra.NodePrepareResourceResponse(error=str(error))
    log.info(
        "claim %s/%s is prepared: partition %s on %s",
        claim.namespace,
        claim.name,
        claim.partition,
        claim.device,
        extra=_about(asked) | {"device": claim.device, "partition": claim.partition},
    )
    device = dra.Device(
        request_names=[claim.request],
        pool_name=node_name,
        device_name=claim.device,
        cdi_device_ids=cdi_devices,
        share_id=claim.share_id or None,
    )
    return dra.NodePrepareResourceResponse(devices=[device])


def _unprepare(preparer: ClaimPreparer, asked: dra.Claim) -> dra.NodeUnprepareResourceResponse:
    try:
        preparer.unprepare(asked.uid)
    except OSError as error:
        log.warning(
            "claim %s/%s is not unprepared: %s", asked.namespace, asked.name, error, extra=_about(asked)
        )
        return dra.NodeUnprepareResourceResponse(error=str(error))
    log.info("claim %s/%s is unprepared", asked.namespace, asked.name, extra=_about(asked))
    return dra.NodeUnprepareResourceResponse()


def _about(asked: dra.Claim) -> dict[str, str]:
    """What a line of the log about a claim is about."""
    return {"namespace": asked.namespace, "claim": asked.name}
