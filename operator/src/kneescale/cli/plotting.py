"""What pictures are drawn with: matplotlib, which is an extra. Commands import it only when they draw."""

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

__all__ = ["Axes", "Figure", "LogFormatter", "Patch", "Rectangle", "mpl", "save"]


def save(figure: Figure, path: Path) -> None:
    """Write a picture.

    Raises InvalidInputError where the file cannot be written, or its ending names no format of a picture.
    """
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise InvalidInputError(f"{path}: {error}") from error
