"""The real NVML bindings over a driver below a folder: `python -m tests.agent.nvml_process ROOT`.

A process of its own, since the bindings keep the library that they loaded first. Each line of input names a
method of GpuLibrary; what it returns, or raises, is answered as one line of JSON.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from kneescale.agent.gpu_library import LibraryError, LibraryReplacedError
from kneescale.agent.nvml import NvmlLibrary


def main() -> None:
    """Answer until the input ends."""
    library = NvmlLibrary(Path(sys.argv[1]))
    methods: dict[str, Callable[[], object]] = {
        "open": library.open,
        "close": library.close,
        "inventory": lambda: asdict(library.inventory()),
        "wait": lambda: (event := library.wait_for_xid(10)) and asdict(event),
    }
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answer(methods[line.strip()])) + "\n")
        sys.stdout.flush()


def _answer(method: Callable[[], object]) -> object:
    try:
        return method()
    except LibraryError as error:
        return {"reason": error.reason, "message": str(error)}
    except LibraryReplacedError as error:
        return {"replaced": str(error)}


if __name__ == "__main__":
    main()
