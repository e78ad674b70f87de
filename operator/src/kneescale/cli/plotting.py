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

__all__ = ["Axes", "Figure", "LogFormatter", "Patch", "Rectangle", "check_picture", "literal", "mpl", "save"]

_DPI = 110
#: matplotlib draws nothing that is higher.
_MOST_PX = (1 << 16) - 1
#: The height of a panel, in inches.
PANEL_IN = 3.2


def check_picture(path: Path, rows: int = 1) -> None:
    """Whether a picture can be written there, asked before what is to be drawn takes its time.

    Raises InvalidInputError where it cannot, so many rows of panels are too high for one, or the file's
    ending names no format of a picture.
    """
    most = int(_MOST_PX // (_DPI * PANEL_IN))
    if rows > most:
        raise InvalidInputError(f"{path}: {rows} panels one below the other are too high: at most {most}")
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


def literal(text: str) -> str:
    """What makes matplotlib write the text as it is: between two dollars it would take it for a formula."""
    return text.replace("$", r"\$")


def save(figure: Figure, path: Path) -> None:
    """Write a picture.

    Raises InvalidInputError where the file cannot be written, or its ending names no format of a picture.
    """
    check_picture(path)
    try:
        figure.savefig(path, dpi=_DPI)
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror}") from error
