"""Lanes of a CPU device: how many cores stand behind GPU%, for the agent and its workers alike."""

from kneescale.core.units import WHOLE_GPU_PERCENT


def lane_percent_step(cores: int) -> int:
    """The finest step of lanes of which no more fit into the whole device than it has cores."""
    step = max(1, WHOLE_GPU_PERCENT // cores)
    return step if WHOLE_GPU_PERCENT // step <= cores else step + 1


def lane_cores(cores: int, gpu_percent: int) -> int:
    """How many of the device's cores a lane has; the largest lane, of 99 GPU% on three cores, has all."""
    largest = WHOLE_GPU_PERCENT - WHOLE_GPU_PERCENT % lane_percent_step(cores)
    # Rounded down: so the sum over lanes that fit together cannot pass all. One that is finer than any of the
    # device, of a schedule made before lanes were coarser, runs all the same.
    return max(1, cores * gpu_percent // largest)
