"""The SMs that were reserved for this worker: found, and entered before CUDA starts.

The program of the MPS daemons writes the partition's id once the daemon made it; it is another one after each
start of the daemon (NVIDIA, Multi-Process Service, "Static SM Partitioning").
"""

import os
import time
from pathlib import Path

from kneescale.core.worker_pod import SM_PARTITION_ID_FILE
from kneescale_worker.errors import LoadError

#: From Hopper on; 4 before.
LARGEST_CHUNK_SMS = 8
_VARIABLE = "CUDA_MPS_SM_PARTITION"
#: The daemon's program looks for what is asked for each second, but the SMs may be another worker's still.
_LONGEST_WAIT_S = 60.0
_LOOK_EVERY_S = 0.2


def enter_partition(folder: Path) -> None:
    """Have CUDA use this worker's partition, once there is one; before anything of CUDA is called.

    Raises LoadError where there is none in time.
    """
    path = folder / SM_PARTITION_ID_FILE
    deadline_s = time.monotonic() + _LONGEST_WAIT_S
    while not path.exists():
        if time.monotonic() > deadline_s:
            raise LoadError(
                f"no SM partition was made for this worker in {_LONGEST_WAIT_S:.0f} s; the log of the MPS "
                "daemons' container on this node says why"
            )
        time.sleep(_LOOK_EVERY_S)
    os.environ[_VARIABLE] = path.read_text().strip()
