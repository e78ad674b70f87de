"""A worker whose model never comes back from its load or from a batch: `hanging_worker.py load|run serve`."""

import sys
from threading import Event
from typing import NoReturn

from kneescale_worker.emulated_executor import EmulatedExecutor
from kneescale_worker.main import main


def _hang(*_: object) -> NoReturn:
    Event().wait()
    raise AssertionError("nobody sets it")


if __name__ == "__main__":
    _, method, *arguments = sys.argv
    setattr(EmulatedExecutor, method, _hang)
    sys.exit(main(arguments))
