"""Tables for people: columns as wide as their widest cell."""

from collections.abc import Iterable, Sequence
from typing import TextIO


def write_table(titles: Sequence[str], rows: Iterable[Sequence[object]], out: TextIO) -> None:
    """Write a line of titles and one for each row; None is a dash, numbers have at most four digits."""
    table = [tuple(titles), *(tuple(map(_cell, row)) for row in rows)]
    widths = [max(len(line[index]) for line in table) for index in range(len(titles))]
    for line in table:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        out.write("  ".join(cells).rstrip() + "\n")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
