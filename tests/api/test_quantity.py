"""Kubernetes quantities."""

import pytest

from kneescale.api.quantity import parse_quantity
from kneescale.core.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("48", 48),
        ("1Gi", 1 << 30),
        ("1.5Ki", 1536),
        ("7Ei", 7 << 60),
        (str(2**63 - 1), 2**63 - 1),
        ("2k", 2000),
        ("1500M", 1_500_000_000),
        ("1E", 10**18),
        ("1E3", 1000),
        ("2e9", 2 * 10**9),
        ("100m", 1),
        ("0", 0),
        ("-1Gi", -(1 << 30)),
    ],
)
def test_quantities(text: str, number: int) -> None:
    assert parse_quantity(text) == number


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "1gi", "1Ki3", "plenty", "1,5Gi"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="is no quantity; write it like 512Mi"):
        parse_quantity(text)


@pytest.mark.parametrize("text", ["8Ei", "1e99", str(2**63), "9.3E"])
def test_what_64_bits_do_not_hold_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="must be less than 8Ei"):
        parse_quantity(text)
