"""Files by which the agent and the program of the daemons tell each other: whole, old or new."""

from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Replace the file at `path`: a reader sees the old or the new; what a crash leaves is soon replaced.

    Others than the writer may read it, whatever the umask.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.chmod(0o644)
    temporary.replace(path)
