"""Opening what the user names: a file that cannot be read is one line, not a traceback."""

from codecs import BOM_UTF8
from io import StringIO
from pathlib import Path
from typing import TextIO

from kneescale.core.errors import InvalidInputError


def open_text(path: Path) -> TextIO:
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
