"""Kubernetes quantities ("16Gi", "1500M", "2e9") as whole numbers."""

import re
from decimal import ROUND_CEILING, Decimal

from kneescale.core.errors import InvalidInputError

#: An exponent of more digits would take the memory and the time of a number with as many.
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([KMGTPE]i|[numkMGTPE])|([eE][+-]?\d{1,2}))?")
_FACTORS = (
    {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")}
    | {unit: Decimal(1000) ** (i + 1) for i, unit in enumerate("kMGTPE")}
    | {f"{unit}i": Decimal(1024) ** (i + 1) for i, unit in enumerate("KMGTPE")}
)
#: Kubernetes counts in 64 bits, with a sign.
_TOO_MUCH = 1 << 63


def parse_quantity(text: str) -> int:
    """The number that a quantity stands for, rounded up to a whole one.

    Raises InvalidInputError when the text is no Kubernetes quantity, or one of 8Ei or more.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise InvalidInputError(f"{text!r} is no quantity; write it like 512Mi or 2Gi")
    number, suffix, exponent = match.groups(default="")
    value = Decimal(number + exponent) * (_FACTORS[suffix] if suffix else 1)
    whole = int(value.to_integral_value(rounding=ROUND_CEILING))
    if whole >= _TOO_MUCH:
        raise InvalidInputError(f"{text!r} is too much; a quantity must be less than 8Ei")
    return whole
