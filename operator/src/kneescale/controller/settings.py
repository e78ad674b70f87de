"""The operator's settings, read from the environment once, at start-up."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address

from kneescale.api.gpu_schedule import Policy
from kneescale.core.errors import InvalidInputError
from kneescale.plan.state import Settings

_POD_IP = "KNEESCALE_POD_IP"
_WORKER_IMAGE = "KNEESCALE_WORKER_IMAGE"
_SCHEDULING = "KNEESCALE_SCHEDULING"
_AREA_LIMIT = "KNEESCALE_AREA_LIMIT_PERMILLE"


def parse_address(environment: Mapping[str, str]) -> str:
    """Where the cluster reaches this process.

    Raises InvalidInputError saying which variable to set.
    """
    address = environment.get(_POD_IP, "")
    try:
        return str(ip_address(address))
    except ValueError:
        raise InvalidInputError(f"set {_POD_IP} to the address of this pod, not {address!r}") from None


def parse_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings.

    Raises InvalidInputError saying which variable to set, and to what.
    """
    worker_image = environment.get(_WORKER_IMAGE, "")
    if not worker_image:
        raise InvalidInputError(f"set {_WORKER_IMAGE} to the image that worker pods run")
    settings = Settings(worker_image)
    if _SCHEDULING in environment:
        settings = replace(settings, policy=_policy(environment[_SCHEDULING]))
    if _AREA_LIMIT in environment:
        settings = replace(settings, area_limit_permille=_permille(environment[_AREA_LIMIT]))
    return settings


def _policy(text: str) -> Policy:
    try:
        return Policy(text)
    except ValueError as error:
        raise InvalidInputError(f"set {_SCHEDULING} to one of {', '.join(Policy)}, not {text!r}") from error


def _permille(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise InvalidInputError(f"set {_AREA_LIMIT} to a whole number from 1 to 1000, not {text!r}")
    return int(text)
