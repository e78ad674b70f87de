"""Which backend the settings ask for."""

from kneescale.agent.backend import Backend
from kneescale.agent.cpu import CpuBackend
from kneescale.agent.emulated import EmulatedBackend
from kneescale.agent.settings import Settings
from kneescale.api import vocabulary


def make_backend(settings: Settings) -> Backend:
    """The backend of this node.

    Raises InvalidInputError when the settings do not suit it.
    """
    if settings.backend is vocabulary.Backend.CPU:
        return CpuBackend(settings.node_name)
    return EmulatedBackend(settings.node_name, settings.emulated_gpus, settings.emulated_product)
