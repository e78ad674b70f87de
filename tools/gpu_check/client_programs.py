"""Programs that checks run as MPS clients: `python -m tools.gpu_check.client_programs PROGRAM ...`.

The last line that each prints is JSON. They need a torch with CUDA, and run on the only GPU that the daemon
shows.
"""

import ctypes
import json
import sys
import time
from collections.abc import Callable, Mapping
from ctypes import byref, c_uint, c_void_p
from pathlib import Path
from typing import Any

#: Large enough to fill any GPU: 128 x 128 outputs to a thread block make 4096 blocks.
_SIZE = 8192
_REPEATS = 10
#: Kernels in a row, as many as a deep network launches.
_CHAIN = 300
#: PTX of a kernel, which the driver compiles.
_WRITES_NOWHERE = b"""
.version 7.0
.target sm_70
.address_size 64
.visible .entry writes_nowhere()
{
    .reg .b32 %value;
    .reg .b64 %address;
    mov.b32 %value, 1;
    mov.b64 %address, 16;
    st.global.b32 [%address], %value;
    ret;
}
"""


def sms() -> Mapping[str, Any]:
    """How many SMs this client sees."""
    from kneescale_worker.cuda_driver import LibCuda

    return {"sms": LibCuda().visible_sms()}


def mps_client() -> Mapping[str, Any]:
    """Whether the driver says that this is a client of MPS."""
    from kneescale_worker.cuda_driver import LibCuda

    return {"mps": LibCuda().is_mps_client()}


def green(*percents: str) -> Mapping[str, Any]:
    """SMs of a green context for each GPU%, and how many groups the device has."""
    from kneescale_worker.cuda_driver import LibCuda
    from kneescale_worker.green_contexts import GreenContextLanes

    _torch().zeros(1, device="cuda")
    driver = LibCuda()
    lanes = GreenContextLanes(driver, [int(percent) for percent in percents])
    lanes.open()
    return {"sms": lanes.sms, "groups": len(driver.split_sms(driver.all_sms()))}


def contexts(*percents: str) -> Mapping[str, Any]:
    """SMs of a capped context for each GPU%."""
    from kneescale_worker.cuda_driver import LibCuda
    from kneescale_worker.mps_contexts import MpsContextLanes

    lanes = MpsContextLanes(LibCuda(), [int(percent) for percent in percents])
    lanes.open()
    return {"sms": lanes.sms}


def multiply(seconds: str = "0") -> Mapping[str, Any]:
    """The median time of a product of two large matrices, for at least so long."""
    return _multiply(float(seconds), None)


def multiply_green(percent: str, seconds: str = "0") -> Mapping[str, Any]:
    """The same on a green context."""
    from kneescale_worker.cuda_driver import LibCuda
    from kneescale_worker.green_contexts import GreenContextLanes

    torch = _torch()
    torch.zeros(1, device="cuda")
    lanes = GreenContextLanes(LibCuda(), [int(percent)])
    lanes.open()
    with lanes.use(int(percent)) as lane:
        return _multiply(float(seconds), torch.cuda.ExternalStream(lane.stream))


def batch(model_dir: str, percent: str, size: str) -> Mapping[str, Any]:
    """The median time of a batch of a model, as a worker runs it on a lane that is a process."""
    from kneescale_worker.client_lane import ClientLane
    from kneescale_worker.cuda_driver import LibCuda
    from kneescale_worker.cuda_executor import CudaExecutor
    from kneescale_worker.torchscript import zeros

    driver = LibCuda()
    gpu_percent = int(percent)
    # Only the pace matters here; the lane's size is another check's.
    lane = ClientLane(driver, gpu_percent, round(100 * driver.visible_sms() / gpu_percent))
    executor = CudaExecutor(Path(model_dir), lane, int(size), at_once=1)
    executor.load()
    executor.warm_up()
    inputs = zeros(executor.metadata, int(size))
    times_ms = []
    for _ in range(_REPEATS):
        began_s = time.monotonic()
        executor.run(gpu_percent, inputs)
        times_ms.append(1000 * (time.monotonic() - began_s))
    return {"median_ms": sorted(times_ms)[len(times_ms) // 2]}


def hold(seconds: str = "60") -> Mapping[str, Any]:
    """Multiply for so long, or until CUDA fails, as it does after terminate_client; says how."""
    try:
        return _multiply(float(seconds), None)
    except RuntimeError as error:
        return {"error": str(error).splitlines()[0]}


def hold_idle(seconds: str) -> Mapping[str, Any]:
    """Make a context as a lane does, run one product, and then nothing for so long."""
    said = _multiply(0, None)
    time.sleep(float(seconds))
    return said


def stand_by() -> Mapping[str, Any]:
    """Make a context, say so by a line, and use it once more when the standard input has ended."""
    torch = _torch()
    number = torch.ones(1, device="cuda")
    torch.cuda.synchronize()
    sys.stdout.write("has a context\n")
    sys.stdout.flush()
    sys.stdin.read()
    return _error_of(lambda: number.mul_(1))


def allocate(mebibytes: str) -> Mapping[str, Any]:
    """Take so much of the GPU's memory; says how that failed."""
    return _error_of(lambda: _torch().zeros(int(mebibytes) << 20, dtype=_torch().uint8, device="cuda"))


def many_small(seconds: str = "0") -> Mapping[str, Any]:
    """The median time of a chain of small kernels, which takes its time to launch, for at least so long."""
    torch = _torch()
    numbers = torch.ones(_SIZE, device="cuda")
    torch.cuda.synchronize()

    def chain() -> None:
        for _ in range(_CHAIN):
            numbers.mul_(1)

    return _timed(chain, float(seconds))


def fail_assertion() -> Mapping[str, Any]:
    """Have an assertion fail in a kernel, as torch's own do on an index out of bounds."""
    torch = _torch()
    return _error_of(lambda: torch.zeros(1, device="cuda")[torch.ones(1, dtype=torch.int64, device="cuda")])


def fault() -> Mapping[str, Any]:
    """Write where there is no memory, in a kernel."""
    torch = _torch()
    torch.zeros(1, device="cuda")
    library, module, kernel = ctypes.CDLL("libcuda.so.1"), c_void_p(), c_void_p()
    status = library.cuModuleLoadData(byref(module), _WRITES_NOWHERE)
    status = status or library.cuModuleGetFunction(byref(kernel), module, b"writes_nowhere")
    one = [c_uint(1)] * 6
    status = status or library.cuLaunchKernel(kernel, *one, c_uint(0), None, None, None)
    if status:
        return {"error": "", "launch": status}
    return _error_of(lambda: None)


def _error_of(use: Callable[[], object]) -> Mapping[str, Any]:
    """The first line of what CUDA says to it; empty if nothing."""
    try:
        use()
        _torch().cuda.synchronize()
    except RuntimeError as error:
        return {"error": str(error).splitlines()[0]}
    return {"error": ""}


def _multiply(seconds: float, stream: Any) -> Mapping[str, Any]:  # noqa: ANN401  (torch has no types here)
    torch = _torch()
    left = torch.ones((_SIZE, _SIZE), device="cuda", dtype=torch.float16)
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        return _timed(lambda: left @ left, seconds)


def _timed(work: Callable[[], object], seconds: float) -> Mapping[str, Any]:
    """The median time until the GPU has done it, over some repeats and for at least so long."""
    times_ms: list[float] = []
    until_s = time.monotonic() + seconds
    while len(times_ms) <= _REPEATS or time.monotonic() < until_s:
        began_s = time.monotonic()
        work()
        _torch().cuda.current_stream().synchronize()
        times_ms.append(1000 * (time.monotonic() - began_s))
    warm = sorted(times_ms[1:])
    return {"median_ms": warm[len(warm) // 2]}


def _torch() -> Any:  # noqa: ANN401
    import torch

    return torch


PROGRAMS: Mapping[str, Callable[..., Mapping[str, Any]]] = {
    program.__name__: program
    for program in (
        sms,
        mps_client,
        green,
        contexts,
        multiply,
        multiply_green,
        batch,
        hold,
        hold_idle,
        stand_by,
        allocate,
        many_small,
        fail_assertion,
        fault,
    )
}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(PROGRAMS[sys.argv[1]](*sys.argv[2:])) + "\n")
