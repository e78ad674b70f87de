"""Opening what the user names: a file that cannot be read is one line, not a traceback."""

import json
from codecs import BOM_UTF8
from io import StringIO
from pathlib import Path
from typing import Any

from kneescale.core.errors import InvalidInputError


def open_text(path: Path) -> StringIO:
    """The file's UTF-8 text, without the byte order mark that spreadsheets write.

    Raises InvalidInputError, naming the file and, where it is no text, the line.
    """
    try:
        content = path.read_bytes().removeprefix(BOM_UTF8)
        return StringIO(content.decode(), newline="")
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidInputError(f"{path}:{line}: is not UTF-8 text") from error


def read_json(path: Path) -> Any:  # noqa: ANN401
    """The value in a JSON file; raises InvalidInputError, naming the file, where it is none."""
    try:
        return json.load(open_text(path))
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"{path}:{error.lineno}: is not JSON: {error.msg}") from error
    except ValueError as error:
        # Python's limit of what it reads as one integer.
        raise InvalidInputError(f"{path}: is not JSON: a number has too many digits") from error
    except RecursionError as error:
        raise InvalidInputError(f"{path}:1: is nested too deeply") from error
