"""gRPC over a Unix socket, as the kubelet speaks with its plugins."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

#: The kubelet keeps one stream open and otherwise calls once at a time; a restarted one may overlap with it.
_THREADS = 8


def start_server(socket_path: Path, *handlers: grpc.GenericRpcHandler) -> grpc.Server:
    """A started server at `socket_path`; the socket of an agent before is replaced."""
    socket_path.parent.mkdir(parents=True, exist_ok=True)
    socket_path.unlink(missing_ok=True)
    server = grpc.server(ThreadPoolExecutor(_THREADS, thread_name_prefix=socket_path.stem))
    server.add_generic_rpc_handlers(handlers)
    server.add_insecure_port(f"unix://{socket_path}")
    server.start()
    return server
