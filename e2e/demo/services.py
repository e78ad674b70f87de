"""Reaching a Service from this machine."""

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from e2e.cluster.kubectl import Kubectl
from e2e.demo.oip import Endpoint
from kneescale.core.worker_pod import GRPC_PORT, HTTP_PORT

CONNECT_TIMEOUT_S = 3.0


@contextmanager
def reach(kubectl: Kubectl, namespace: str, service: str) -> Iterator[Endpoint]:
    """Give an endpoint of a Service: its cluster IP where this machine routes it, else a forwarded port."""
    found = kubectl.run(f"--namespace={namespace}", "get", "service", service, "-o=json")
    address: str = json.loads(found)["spec"]["clusterIP"]
    if _is_routed(address, HTTP_PORT):
        yield Endpoint(rest=f"{address}:{HTTP_PORT}", grpc=f"{address}:{GRPC_PORT}")
        return
    with forward(kubectl, namespace, service) as endpoint:
        yield endpoint


@contextmanager
def forward(kubectl: Kubectl, namespace: str, service: str) -> Iterator[Endpoint]:
    """Give an endpoint on this machine that kubectl forwards to a pod of the Service."""
    argv = [str(kubectl.program), f"--kubeconfig={kubectl.kubeconfig}", f"--namespace={namespace}"]
    argv += ["port-forward", f"service/{service}", f":{HTTP_PORT}", f":{GRPC_PORT}"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as forwarder:
        try:
            yield _forwarded(forwarder, service)
        finally:
            forwarder.terminate()


def _is_routed(address: str, port: int) -> bool:
    """Whether a Service is reached from here, be it that none of its pods answers now."""
    try:
        socket.create_connection((address, port), timeout=CONNECT_TIMEOUT_S).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def _forwarded(forwarder: subprocess.Popen[str], service: str) -> Endpoint:
    assert forwarder.stdout is not None
    local: dict[int, str] = {}
    for line in forwarder.stdout:
        if match := re.match(r"Forwarding from (127\.0\.0\.1:\d+) -> (\d+)", line):
            local[int(match[2])] = match[1]
        if len(local) == 2:
            return Endpoint(rest=local[HTTP_PORT], grpc=local[GRPC_PORT])
    raise RuntimeError(f"kubectl cannot forward ports of service {service}")
