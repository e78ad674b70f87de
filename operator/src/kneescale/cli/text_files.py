"""Opening what the user names: a file that cannot be read is one line, not a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from kneescale.core.errors import InvalidInputError


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """The file, open for reading UTF-8; raises InvalidInputError, naming it, where it cannot be read."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path}: is not UTF-8 text") from error
