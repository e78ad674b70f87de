"""Prints how many threads two lanes have that run at once; run with torch on its path: FOLDER CORE CORE."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import torch

from kneescale_worker.torch_executor import TorchExecutor

_LANES = (50, 100)


def main(folder: Path, cores: frozenset[int]) -> None:
    """Run lanes of half and of all cores, several times."""
    executor = TorchExecutor(folder, cores)
    executor.load()
    together = Barrier(len(_LANES))

    def threads_of(gpu_percent: int) -> list[int]:
        counts = []
        for _ in range(5):
            together.wait()
            executor.run(gpu_percent, [np.zeros((1, 3, 4, 4), np.float32)])
            counts.append(torch.get_num_threads())
        return counts

    with ThreadPoolExecutor(len(_LANES)) as pool:
        sys.stdout.write(json.dumps(list(pool.map(threads_of, _LANES))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), frozenset(int(core) for core in sys.argv[2:]))
