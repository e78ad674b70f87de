"""Emulated execution: the time of a batch is waited out, an answer is its own input and says so."""

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NoReturn

from kneescale.core.errors import InvalidInputError
from kneescale.core.surfaces.catalog import SCHEME, lookup
from kneescale.core.units import NS_PER_S, ms_to_ns
from kneescale_worker.artefact import ModelMetadata
from kneescale_worker.errors import LoadError
from kneescale_worker.tensors import Array, TensorSpec


class EmulatedExecutor:
    """Waits out f(p, b) of a catalog model on the device's product."""

    emulated = True
    lane_sms: Mapping[int, int] = MappingProxyType({})
    metadata = ModelMetadata(
        platform="emulated",
        inputs=(TensorSpec("input", "FP32", (-1, 4)),),
        outputs=(TensorSpec("output", "FP32", (-1, 4)),),
    )

    def __init__(self, uri: str, product: str) -> None:
        if not uri.startswith(SCHEME):
            raise LoadError(f"an emulated model has a URI like {SCHEME}resnet50, not {uri!r}")
        try:
            self._model = lookup(uri.removeprefix(SCHEME), product)
        except InvalidInputError as error:
            raise LoadError(str(error)) from error

    def load(self) -> None:
        """Nothing to bring in."""

    def warm_up(self) -> None:
        """Nothing gets faster by running."""

    def run(self, gpu_percent: int, inputs: Sequence[Array]) -> list[Array]:
        """Return the inputs when the batch's time on a lane of `gpu_percent` is over."""
        began_ns = time.monotonic_ns()
        lasts_ns = ms_to_ns(self._model.latency_ms(gpu_percent, len(inputs[0])))
        # The wait is the emulated kernel itself; it overshoots by the timer slack of 50 us.
        time.sleep(max(0, began_ns + lasts_ns - time.monotonic_ns()) / NS_PER_S)
        return list(inputs)

    def kernels(self) -> NoReturn:
        """Raise LoadError: there are none."""
        raise LoadError("an emulated model has no kernels to read")

    def close(self) -> None:
        """Nothing to let go of."""
