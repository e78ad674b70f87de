"""The agents' own trace of grants: what ran when on each device."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kneescale.sim.spans import Span, levels


@dataclass(frozen=True, slots=True)
class DeviceTrace:
    """The grants on one device; times are of the agent's own clock, which read `now_ns` at the end."""

    node: str
    device: str
    backend: str
    now_ns: int
    spans: tuple[Span, ...]
    #: Instants, since the agent started, at which it saw the sum of granted GPU% pass 100.
    overcommitted: int


def parse_trace(answer: Mapping[str, Any]) -> list[DeviceTrace]:
    """Read what an agent answers to GET /trace. Raises KeyError where something is missing."""
    return [
        DeviceTrace(
            node=answer["node"],
            device=device["name"],
            backend=answer["backend"],
            now_ns=answer["now_ns"],
            spans=tuple(_span(grant) for grant in device["grants"]),
            overcommitted=device["overcommitted"],
        )
        for device in answer["devices"]
    ]


def _span(grant: Mapping[str, Any]) -> Span:
    return Span(
        model=grant["model"],
        gpu_percent=grant["gpu_percent"],
        batch=grant["batch"],
        start_ns=grant["granted_ns"],
        end_ns=grant["ended_ns"],
    )


def overcommitted(trace: DeviceTrace) -> int:
    """Return at how many instants more than 100 GPU% was granted, by the spans and by the agent."""
    return max(trace.overcommitted, sum(percent > 100 for _, percent in levels(trace.spans)))
