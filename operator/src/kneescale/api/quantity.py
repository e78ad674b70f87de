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


def parse_quantity(text: str) -> int:
    """The number that a quantity stands for, rounded up to a whole one.

    Raises InvalidInputError when the text is no Kubernetes quantity.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise InvalidInputError(f"{text!r} is no quantity; write it like 512Mi or 2Gi")
    number, suffix, exponent = match.groups(default="")
    value = Decimal(number + exponent) * (_FACTORS[suffix] if suffix else 1)
    return int(value.to_integral_value(rounding=ROUND_CEILING))
