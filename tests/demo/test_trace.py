"""Reading the agents' trace."""

from typing import Any

from e2e.demo.trace import DeviceTrace, overcommitted, parse_trace
from kneescale.sim.spans import Span


def span(gpu_percent: int, start_ns: int, end_ns: int) -> Span:
    return Span("m", gpu_percent, 1, start_ns, end_ns)


def device(*of: Span, seen_by_agent: int = 0) -> DeviceTrace:
    return DeviceTrace("node1", "gpu0", "emulated", 1000, of, seen_by_agent)


def test_an_agents_answer_is_read_device_by_device() -> None:
    grant = {
        "partition": "m-1",
        "model": "m",
        "gpu_percent": 40,
        "batch": 4,
        "granted_ns": 5,
        "started_ns": 6,
        "ended_ns": 9,
    }
    answer: dict[str, Any] = {
        "node": "node1",
        "backend": "emulated",
        "now_ns": 10,
        "devices": [
            {"name": "gpu0", "uuid": "EMU-node1-0", "grants": [grant], "overcommitted": 0},
            {"name": "gpu1", "uuid": "EMU-node1-1", "grants": [], "overcommitted": 2},
        ],
    }
    first, second = parse_trace(answer)
    assert first == DeviceTrace("node1", "gpu0", "emulated", 10, (Span("m", 40, 4, 5, 9),), 0)
    assert (second.device, second.spans, second.overcommitted) == ("gpu1", (), 2)


def test_a_batch_may_take_over_what_another_gives_back_at_the_same_instant() -> None:
    assert overcommitted(device(span(60, 0, 10), span(60, 10, 20))) == 0


def test_an_overlap_past_100_is_found_even_if_the_agent_missed_it() -> None:
    assert overcommitted(device(span(60, 0, 10), span(60, 9, 20))) == 1


def test_what_the_agent_saw_counts_even_if_the_trace_does_not_show_it() -> None:
    assert overcommitted(device(span(60, 0, 10), seen_by_agent=3)) == 3
