"""A dispatcher host in its thread."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.node import running_host
from kneescale.agent.dispatcher_host import DispatcherHost


@pytest.fixture
def start_host(short_dir: Path) -> Iterator[Callable[[], DispatcherHost]]:
    """Starts hosts whose sockets are `<claim uid>.sock` in `short_dir`; ends them all."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(running_host(short_dir))[0]
