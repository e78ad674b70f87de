"""How many files, and so connections, this process may have open."""

import resource


def allow_as_many_as_possible() -> None:
    """Raise the soft limit to the hard one: containerd 2 leaves 1024, for programs that call select()."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
