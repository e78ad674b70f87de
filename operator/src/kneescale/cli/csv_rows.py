"""Rows of a CSV file whose cells are checked where they stand."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short_repr
from typing import TextIO

from kneescale.cli.limits import Number, within
from kneescale.core.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Row:
    """One row; what is wrong with it is said with its file and line."""

    path: Path
    line: int
    cells: Mapping[str, str]

    def text(self, column: str) -> str:
        """A cell that is not empty."""
        text = self.optional_text(column)
        if not text:
            raise self.fault(f"{column} is empty")
        return text

    def optional_text(self, column: str) -> str:
        """A cell that may be empty, or of a column that is not there."""
        return self.cells.get(column, "").strip()

    def whole(self, column: str, lowest: int, highest: int) -> int:
        """A whole number from `lowest` to `highest`."""
        return self._within(int, column, lowest, highest)

    def number(self, column: str, lowest: float, highest: float) -> float:
        """A number from `lowest` to `highest`."""
        return self._within(float, column, lowest, highest)

    def fault(self, what: object) -> InvalidInputError:
        """The error that says `what` is wrong in this row."""
        return InvalidInputError(f"{self.path}:{self.line}: {what}")

    def _within(self, kind: Callable[[str], Number], column: str, lowest: float, highest: float) -> Number:
        text = self.text(column)
        try:
            return within(kind, text, lowest, highest)
        except ValueError as error:
            raise self.fault(f"{column} {error}, not {short_repr(text)}") from None


def rows(path: Path, file: TextIO, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a file that has at least `columns`; empty ones are skipped.

    Raises InvalidInputError, naming the file and the line, where a column is missing or given twice, a row
    has other cells than the header, or the file is no CSV.
    """
    numbered = _numbered(path, file)
    _, titles = next(numbered, (1, []))
    header = [cell.strip() for cell in titles]
    _check_header(path, header, columns)
    for line, cells in numbered:
        if cells:
            row = Row(path, line, dict(zip(header, cells, strict=False)))
            if len(cells) != len(header):
                raise row.fault(f"has {len(cells)} cells, the header has {len(header)}")
            yield row


def _numbered(path: Path, file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row, with the line where it begins: a stray quote makes one row of many lines."""
    reader = csv.reader(file)
    line = 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise InvalidInputError(f"{path}:{line}: {error}") from error


def _check_header(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    for column in columns:
        if column not in header:
            raise InvalidInputError(f"{path}:1: has no column {column}; needs {', '.join(columns)}")
    for index, column in enumerate(header):
        if column in header[:index]:
            raise InvalidInputError(f"{path}:1: column {column!r} is given twice")
