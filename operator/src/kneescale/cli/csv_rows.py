"""Rows of a CSV file whose cells are checked where they stand."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from kneescale.core.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Row:
    """One row; what is wrong with it is said with its file and line."""

    path: Path
    line: int
    cells: Mapping[str, str | None]

    def text(self, column: str) -> str:
        """A cell that is not empty."""
        text = self.optional_text(column)
        if not text:
            raise self.fault(f"{column} is empty")
        return text

    def optional_text(self, column: str) -> str:
        """A cell that may be empty, or of a column that is not there."""
        return (self.cells.get(column) or "").strip()

    def whole(self, column: str) -> int:
        """A whole number."""
        text = self.text(column)
        try:
            return int(text)
        except ValueError:
            raise self.fault(f"{column} must be a whole number, not {text!r}") from None

    def number(self, column: str) -> float:
        """A number."""
        text = self.text(column)
        try:
            return float(text)
        except ValueError:
            raise self.fault(f"{column} must be a number, not {text!r}") from None

    def fault(self, what: object) -> InvalidInputError:
        """The error that says `what` is wrong in this row."""
        return InvalidInputError(f"{self.path}:{self.line}: {what}")


def rows(path: Path, file: TextIO, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a file that has at least `columns`.

    Raises InvalidInputError, naming the file and the line, where one is missing or the file is no CSV.
    """
    reader = csv.DictReader(file)
    try:
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise InvalidInputError(f"{path}:1: has no column {missing[0]}; needs {', '.join(columns)}")
        for cells in reader:
            yield Row(path, reader.line_num, cells)
    except csv.Error as error:
        raise InvalidInputError(f"{path}:{reader.line_num}: {error}") from error
