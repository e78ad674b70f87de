"""What pictures are drawn with: matplotlib, which is an extra. Commands import it only when they draw."""

import errno
import os
from pathlib import Path

from kneescale.core.errors import InvalidInputError

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch, Rectangle
    from matplotlib.ticker import LogFormatter
except ImportError as error:
    raise InvalidInputError("pictures need matplotlib: pip install 'kneescale[plot]'") from error

__all__ = ["Axes", "Figure", "LogFormatter", "Patch", "Rectangle", "check_picture", "mpl", "save"]


def check_picture(path: Path) -> None:
    """Whether a picture can be written there, asked before what is to be drawn takes its time.

    Raises InvalidInputError where it cannot, or the file's ending names no format of a picture.
    """
    # matplotlib would add an ending of its own, also to a folder's name.
    formats = sorted(Figure().canvas.get_supported_filetypes())
    if path.is_dir():
        raise InvalidInputError(f"{path}: {os.strerror(errno.EISDIR)}")
    if path.suffix.lower().removeprefix(".") not in formats:
        endings = ", ".join(f".{name}" for name in formats)
        raise InvalidInputError(f"{path}: a picture's name ends in one of {endings}")
    if not path.parent.is_dir():
        raise InvalidInputError(f"{path}: {os.strerror(errno.ENOENT)}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InvalidInputError(f"{path}: {os.strerror(errno.EACCES)}")


def save(figure: Figure, path: Path) -> None:
    """Write a picture.

    Raises InvalidInputError where the file cannot be written, or its ending names no format of a picture.
    """
    check_picture(path)
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror}") from error
