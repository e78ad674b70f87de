"""The agent's settings: read from the environment once, at start-up."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kneescale.api.names import DRIVER, WORKER_UID
from kneescale.core.backends import Backend
from kneescale.core.errors import InvalidInputError
from kneescale.core.tiers import Tier

NODE_NAME = "KNEESCALE_NODE_NAME"


@dataclass(frozen=True, slots=True)
class Settings:
    """What an agent is told at start-up; the paths are those that kubelet and container runtime expect."""

    node_name: str
    backend: Backend
    emulated_gpus: int = 2
    emulated_product: str = "V100-SXM2-16GB"
    state_dir: Path = Path("/var/lib/kneescale")
    http_port: int = 9400
    kubeconfig: str = ""
    kubelet_dir: Path = Path("/var/lib/kubelet")
    cdi_dir: Path = Path("/var/run/cdi")
    worker_uid: int = WORKER_UID
    #: Forced for all devices; None leaves it to what a GPU and its driver allow.
    tier: Tier | None = None
    #: Where the node's file system is seen, to find the GPU driver's library in; None: the agent's own.
    driver_root: Path | None = None

    @property
    def checkpoint_path(self) -> Path:
        """The file that lets a restarted agent go on without the API server."""
        return self.state_dir / "checkpoint.json"

    @property
    def claims_dir(self) -> Path:
        """One directory per prepared claim, each holding that claim's grant socket."""
        return self.state_dir / "claims"

    @property
    def registration_socket(self) -> Path:
        """Where the kubelet's plugin watcher looks for new plugins."""
        return self.kubelet_dir / "plugins_registry" / f"{DRIVER}-reg.sock"

    @property
    def dra_socket(self) -> Path:
        """The endpoint that the kubelet calls to prepare and unprepare claims."""
        return self.kubelet_dir / "plugins" / DRIVER / "dra.sock"


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings that KNEESCALE_* variables give, and KUBECONFIG outside a pod.

    Raises InvalidInputError naming the variable and what it must be.
    """
    node_name = environ.get(NODE_NAME, "")
    if not node_name:
        raise InvalidInputError("set KNEESCALE_NODE_NAME to the name of this node")
    defaults = Settings(node_name, _read_backend(environ))
    return Settings(
        node_name=node_name,
        backend=defaults.backend,
        emulated_gpus=_read_int(environ, "KNEESCALE_EMULATED_GPUS", defaults.emulated_gpus, 1, 16),
        emulated_product=environ.get("KNEESCALE_EMULATED_PRODUCT", defaults.emulated_product),
        state_dir=Path(environ.get("KNEESCALE_STATE_DIR", defaults.state_dir)),
        http_port=_read_int(environ, "KNEESCALE_HTTP_PORT", defaults.http_port, 0, 65535),
        kubeconfig=environ.get("KUBECONFIG", defaults.kubeconfig),
        tier=_read_tier(environ),
        driver_root=Path(environ["KNEESCALE_DRIVER_ROOT"]) if "KNEESCALE_DRIVER_ROOT" in environ else None,
    )


def _read_backend(environ: Mapping[str, str]) -> Backend:
    try:
        return Backend(environ.get("KNEESCALE_BACKEND", ""))
    except ValueError as error:
        choices = " or ".join(Backend)
        raise InvalidInputError(f"set KNEESCALE_BACKEND to {choices}") from error


def _read_tier(environ: Mapping[str, str]) -> Tier | None:
    text = environ.get("KNEESCALE_TIER", "")
    if text and text not in set(Tier):
        raise InvalidInputError(f"KNEESCALE_TIER must be one of {', '.join(Tier)}, not {text!r}")
    return Tier(text) if text else None


def _read_int(environ: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = environ.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise InvalidInputError(f"{name} must be an integer from {least} to {most}, not {text!r}")
    return int(text)
