"""Types that several resources share: bounded scalars, roles, latency points."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from kneescale.api.codec import DateTime, Range, Text

#: The longest time of a batch that an API object may say.
LONGEST_LATENCY_US = 600_000_000

GpuPercent = Annotated[int, Range(1, 100)]
Batch = Annotated[int, Range(1, 128)]
SloMilliseconds = Annotated[int, Range(1, 60_000)]
Weight = Annotated[int, Range(1, 100)]
Milliseconds = Annotated[int, Range(0)]
Count = Annotated[int, Range(0)]
#: How far a figure may be off; 100 and more where it is hardly known.
ErrorPercent = Annotated[int, Range(0)]
Permille = Annotated[int, Range(0)]
Generation = Annotated[int, Range(0)]
Time = Annotated[str, DateTime()]
#: A measured number for people, with one decimal: "5.2".
Decimal1 = Annotated[str, Text(max_length=16)]
#: A measured number for programs: "-0.125".
Number = Annotated[str, Text(max_length=24, pattern=r"^-?[0-9]+(\.[0-9]+)?$")]
#: A rate or a time that an agent measured, for programs: "5.2".
Measurement = Annotated[str, Text(max_length=16, pattern=r"^[0-9]{1,13}(\.[0-9]+)?$")]
#: Of a time that something is divided by: at least a second.
MeasuredSeconds = Annotated[str, Text(max_length=16, pattern=r"^[1-9][0-9]{0,12}(\.[0-9]+)?$")]
#: A name that fits a label.
Label = Annotated[str, Text(max_length=63, min_length=1)]
#: A name as objects and nodes may have it.
ObjectName = Annotated[str, Text(max_length=253, min_length=1)]
ProductName = Annotated[str, Text(max_length=128, min_length=1)]
ModelUri = Annotated[str, Text(max_length=512, min_length=1)]


class Role(StrEnum):
    """What a partition is for."""

    SERVE = "Serve"
    PROFILE = "Profile"


class LateRequests(StrEnum):
    """What becomes of requests that cannot be answered within the SLO any more."""

    REFUSE = "Refuse"
    SERVE = "Serve"


@dataclass(frozen=True, slots=True)
class SurfacePoint:
    """One point of a latency surface f(GPU%, batch)."""

    gpu_percent: GpuPercent
    batch: Batch
    latency_microseconds: Annotated[int, Range(1, LONGEST_LATENCY_US)]
