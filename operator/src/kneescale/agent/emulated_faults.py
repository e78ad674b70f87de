"""Faults of emulated GPUs, from a file that a person or a test writes while the agent runs.

`<state_dir>/emulated-faults.json` holds one JSON object: `{"gpu0": "XidError", "gpu1": "removed"}`. A fault
is one CamelCase word, which taints the device as a real GPU's sickness would, or `removed`, which withdraws
it. What is not in the file is healthy; without the file all are.
"""

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path

from kneescale.core.errors import InvalidInputError

log = logging.getLogger(__name__)

FILE_NAME = "emulated-faults.json"
REMOVED = "removed"
_SICKNESS = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")


class EmulatedFaults:
    """The faults in a file, read each time; a file that says nothing sensible leaves all devices healthy."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._logged = ""

    def read(self) -> Mapping[str, str]:
        """Faults by device name."""
        try:
            faults, error = _parse(self._path), ""
        except InvalidInputError as invalid:
            faults, error = {}, str(invalid)
        if error and error != self._logged:
            log.warning("no fault is emulated: %s", error)
        self._logged = error
        return faults


def _parse(path: Path) -> dict[str, str]:
    """The faults that a file holds. Raises InvalidInputError when they are none."""
    try:
        faults = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(faults, dict) or not all(_is_fault(fault) for fault in faults.values()):
        raise InvalidInputError(
            f'{path} must map devices to "{REMOVED}" or one CamelCase word, like {{"gpu0": "XidError"}}'
        )
    return faults


def _is_fault(fault: object) -> bool:
    return isinstance(fault, str) and (fault == REMOVED or _SICKNESS.fullmatch(fault) is not None)
