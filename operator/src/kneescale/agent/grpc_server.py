"""gRPC over a Unix socket, as the kubelet speaks with its plugins."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

_THREADS = 4


def start_server(socket_path: Path, handler: grpc.GenericRpcHandler) -> grpc.Server:
    """A started server at `socket_path`; the socket of an agent before is replaced."""
    socket_path.parent.mkdir(parents=True, exist_ok=True)
    socket_path.unlink(missing_ok=True)
    server = grpc.server(ThreadPoolExecutor(_THREADS, thread_name_prefix=socket_path.stem))
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"unix://{socket_path}")
    server.start()
    return server
