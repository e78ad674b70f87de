"""Claims of the checkpoint that the cluster no longer has: a kubelet that lost its state never says so."""

import logging
from threading import Event

from kneescale.agent.claims import PreparedClaim
from kneescale.agent.cluster_api import ClusterApi, ClusterError, NotFoundError
from kneescale.agent.dra import ClaimPreparer
from kneescale.agent.node_state import NodeState

log = logging.getLogger(__name__)

_AGAIN_S = 30.0


class GoneClaims:
    """Takes them back once after a start; while nobody can be asked, all stay."""

    def __init__(self, api: ClusterApi, node_name: str, state: NodeState, preparer: ClaimPreparer) -> None:
        self._api = api
        self._node_name = node_name
        self._state = state
        self._preparer = preparer

    def run(self, stop: Event) -> None:
        """Return when all are taken back, or at `stop`."""
        while not stop.is_set():
            try:
                self.take_back()
            except (ClusterError, OSError) as error:
                log.warning("claims of before are not compared with the cluster's: %s", error)
                stop.wait(_AGAIN_S)
            else:
                return

    def take_back(self) -> None:
        """Raises ClusterError where the API server cannot tell, OSError where one cannot be taken back."""
        # A server that has no such API says of every claim that it is not there, but of this list as well.
        self._api.list_resource_slices(self._node_name)
        for claim in self._state.claims():
            if self._is_gone(claim):
                log.warning("claim %s/%s is no more and is taken back", claim.namespace, claim.name)
                self._preparer.unprepare(claim.uid)

    def _is_gone(self, claim: PreparedClaim) -> bool:
        try:
            found = self._api.get_resource_claim(claim.namespace, claim.name)
        except NotFoundError:
            return True
        return bool(found["metadata"]["uid"] != claim.uid)
