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
        ("16Ei", 1 << 64),
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
