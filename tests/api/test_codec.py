"""Dataclasses to JSON and back."""

from dataclasses import dataclass
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale.api.codec import DateTime, Items, Range, Text, decode, encode
from kneescale.api.gpu_schedule import (
    GPUScheduleSpec,
    GPUScheduleStatus,
    Partition,
    PartitionState,
    PartitionStatus,
    Policy,
)
from kneescale.api.vocabulary import Role, SurfacePoint
from kneescale.core.backends import Backend
from kneescale.core.errors import InvalidInputError
from kneescale.core.tiers import Tier


@dataclass(frozen=True, slots=True)
class Shelf:
    """Something with every kind of bound."""

    book_count: Annotated[int, Range(1)]
    name: Annotated[str, Text(max_length=5, min_length=2, pattern="^[a-z]*$")] = "ab"
    marks: Annotated[tuple[Annotated[int, Range(0, 9)], ...], Items(3, unique=True)] = ()
    lit: bool | None = None
    dusted_at: Annotated[str | None, DateTime()] = None


LABELS = st.text("abcdefghij-0123456789", min_size=1, max_size=20)
POINTS = st.builds(
    SurfacePoint,
    gpu_percent=st.integers(1, 100),
    batch=st.integers(1, 128),
    latency_microseconds=st.integers(1, 10**6),
)
PARTITIONS = st.builds(
    Partition,
    name=LABELS,
    namespace=LABELS,
    model=LABELS,
    role=st.sampled_from(Role),
    slo_milliseconds=st.integers(1, 60_000),
    weight=st.integers(1, 100),
    gpu_percent=st.integers(1, 100),
    batch=st.integers(1, 128),
    lanes=st.lists(st.integers(1, 100), min_size=1, max_size=4).map(tuple),
    area_permille=st.integers(0, 1000),
    surface=st.lists(POINTS, max_size=3).map(tuple),
)
SPECS = st.builds(
    GPUScheduleSpec,
    node_name=LABELS,
    device=LABELS,
    uuid=LABELS,
    product_name=LABELS,
    backend=st.sampled_from(Backend),
    tier=st.sampled_from(Tier),
    lane_percent_step=st.integers(1, 100),
    memory_bytes=st.integers(min_value=0),
    clients=st.integers(min_value=0),
    policy=st.sampled_from(Policy),
    partitions=st.lists(PARTITIONS, max_size=3).map(tuple),
)


@given(SPECS)
def test_what_is_encoded_decodes_to_the_same(spec: GPUScheduleSpec) -> None:
    assert decode(GPUScheduleSpec, encode(spec), "spec") == spec


def test_names_are_in_camel_case_and_none_is_left_out() -> None:
    status = GPUScheduleStatus(
        summary="lite0 40%x8",
        partitions=(PartitionStatus("lite0-1", PartitionState.SERVING, "5.2", 10, 10, 9, 0, 12, 30, 30),),
    )
    assert encode(status) == {
        "conditions": [],
        "summary": "lite0 40%x8",
        "partitions": [
            {
                "name": "lite0-1",
                "state": "Serving",
                "requestsPerSecond": "5.2",
                "requests": 10,
                "answered": 10,
                "withinSLO": 9,
                "failed": 0,
                "p50Milliseconds": 12,
                "p99Milliseconds": 30,
                "windowSeconds": 30,
                "overruns": 0,
            }
        ],
    }


def test_absent_and_null_members_get_their_defaults_and_unknown_ones_are_ignored() -> None:
    assert decode(Shelf, {"bookCount": 1, "name": None, "colour": "red"}, "spec") == Shelf(1)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([], r"spec must be an object, not \[\]"),
        ({}, "spec.bookCount is missing"),
        ({"bookCount": 0}, "spec.bookCount must be 1 or more, not 0"),
        ({"bookCount": True}, "spec.bookCount must be of type int, not True"),
        ({"bookCount": "1"}, "spec.bookCount must be of type int, not '1'"),
        ({"bookCount": 1, "name": "a"}, "spec.name must have 2 to 5 characters, not 1"),
        ({"bookCount": 1, "name": "ABC"}, r"spec.name must match \^\[a-z\]\*\$, not 'ABC'"),
        ({"bookCount": 1, "marks": "12"}, "spec.marks must be a list, not '12'"),
        ({"bookCount": 1, "marks": [1, 10]}, r"spec.marks\[1\] must be between 0 and 9, not 10"),
        ({"bookCount": 1, "marks": [1, 1]}, "spec.marks holds 1 twice"),
        ({"bookCount": 1, "marks": [1, 2, 3, 4]}, "spec.marks must have 0 to 3 items, not 4"),
        ({"bookCount": 1, "lit": 1}, "spec.lit must be of type bool, not 1"),
        *(
            ({"bookCount": 1, "dustedAt": time}, "spec.dustedAt must be an RFC 3339 time, not '.+'")
            for time in (
                "2026-02-30T00:00:00Z",
                "2026-01-01T00:00:00",
                "2026-01-01T00:00:00+99:99",
                "0001-01-01T00:00:00+14:00",
                "9999-12-31T23:59:59Z",
            )
        ),
    ],
)
def test_what_is_wrong_is_named(value: object, error: str) -> None:
    with pytest.raises(InvalidInputError, match=error):
        decode(Shelf, value, "spec")
