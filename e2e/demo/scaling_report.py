"""What the autoscaling scenario showed: what came, what was provided for, and whether the SLO was held."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Self

from e2e.demo.figures import Outcome, by_time, summarise
from e2e.demo.traffic import STEP, surface_of
from kneescale.core.planning.placement import DEFAULT_AREA_LIMIT_PERMILLE
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.sim.autoscaling.figures import most_turns

#: Just after a step less is promised: workers take their time to start.
GRACE_S = 15.0
INSIDE, OUTSIDE = 0.95, 0.99
#: Capacity follows a step within so long.
FOLLOWS_S = 15.0
#: Of what a step was given, no more than this part is still there at the end: capacity falls slowly, and what
#: was provided before the step may be less than came, for nothing had come before that.
MOST_LEFT = 1 / 3
#: In shorter traffic a rise that is kept for a minute is too much of it for the next two.
LONG_S = 600.0
MOST_OVER_ORACLE = 1.25
MOST_TURNS = 1


@dataclass(frozen=True, slots=True)
class Sighting:
    """A model's status at a moment, in seconds since the load began."""

    model: str
    at_s: float
    rate_rps: float
    provided_ips: float
    gpu_percent: int
    batch: int
    replicas: int
    ready: int

    @classmethod
    def of(cls, model: str, at_s: float, status: Mapping[str, Any]) -> Self:
        """What a status says."""
        return cls(
            model=model,
            at_s=round(at_s, 1),
            rate_rps=float(status.get("measured", {}).get("requestsPerSecond", 0)),
            provided_ips=float(status.get("scaling", {}).get("providedItemsPerSecond", 0)),
            gpu_percent=status.get("gpuPercent", 0),
            batch=status.get("batch", 0),
            replicas=status.get("replicas", 0),
            ready=sum(each["state"] == "Serving" for each in status.get("placements", [])),
        )

    def area(self, surface: LatencySurface) -> float:
        """GPU% x ms per second that what is provided for takes; 0 where there is no plan yet."""
        if not self.batch:
            return 0.0
        latency_ms = surface.latency_ms(self.gpu_percent, self.batch)
        return self.provided_ips * latency_ms / self.batch * self.gpu_percent


@dataclass(frozen=True, slots=True)
class Bucket:
    """What became of the requests that were due in five seconds from `from_s` on."""

    from_s: float
    sent: int
    attainment: float
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class ModelScaling:
    """One model over the whole run."""

    name: str
    slo_ms: int
    sent: int
    answered: int
    #: Within GRACE_S after the traffic changed, and at all other times.
    attainment_inside: float
    attainment_outside: float
    buckets: tuple[Bucket, ...]
    sightings: tuple[Sighting, ...]

    @classmethod
    def of(
        cls,
        name: str,
        slo_ms: int,
        outcomes: Sequence[Outcome],
        sightings: Sequence[Sighting],
        changes_s: Sequence[float],
    ) -> Self:
        """Count outcomes; `changes_s` is when traffic changed, in seconds since the first request was due."""
        begin_s = min(outcome.due_s for outcome in outcomes)
        inside: list[bool] = []
        outside: list[bool] = []
        for outcome in outcomes:
            is_inside = any(0 <= outcome.due_s - begin_s - change_s < GRACE_S for change_s in changes_s)
            (inside if is_inside else outside).append(outcome.is_within(slo_ms))
        return cls(
            name=name,
            slo_ms=slo_ms,
            sent=len(outcomes),
            answered=sum(outcome.latency_ms is not None for outcome in outcomes),
            attainment_inside=_share(inside),
            attainment_outside=_share(outside),
            buckets=tuple(_bucket(from_s, of_one, slo_ms) for from_s, of_one in by_time(outcomes, begin_s)),
            sightings=tuple(sightings),
        )

    @property
    def turns(self) -> int:
        """The most changes of direction, within any minute, of what was provided for."""
        return most_turns(self._by_second([sighting.provided_ips for sighting in self.sightings]))

    @property
    def reserved_gpus(self) -> float:
        """What was provided for took so much of GPUs that are filled to their limit, in the mean."""
        surface = surface_of(self.name)
        by_second = self._by_second([sighting.area(surface) for sighting in self.sightings])
        limit_percent = WHOLE_GPU_PERCENT * DEFAULT_AREA_LIMIT_PERMILLE
        return sum(by_second) / len(by_second) / limit_percent if by_second else 0.0

    def _by_second(self, values: Sequence[float]) -> list[float]:
        """What was seen last, at each second from the first sighting on."""
        seconds = [round(sighting.at_s) for sighting in self.sightings]
        lasts = [later - earlier for earlier, later in pairwise(seconds)]
        return [value for value, count in zip(values, [*lasts, 1], strict=True) for _ in range(count)]

    def most(self, field: str, from_s: float, until_s: float) -> float:
        """The largest value of a sighting's field in that time; 0 where nothing was seen."""
        return max((getattr(s, field) for s in self.sightings if from_s <= s.at_s < until_s), default=0)


@dataclass(frozen=True, slots=True)
class ScalingReport:
    """The scenario, emulated: kernel times are waited out, all else is real."""

    cluster: str
    kubernetes: str
    items_per_request: int
    traffic: str
    duration_s: float
    #: When the rate jumped, up or down.
    changes_s: tuple[float, ...]
    #: What the simulator's oracle reserves for the same requests, in the mean.
    oracle_gpus: float
    models: tuple[ModelScaling, ...]

    @property
    def area_over_oracle(self) -> float:
        """GPUs that were provided, in the mean, over the oracle's."""
        return sum(model.reserved_gpus for model in self.models) / self.oracle_gpus

    def to_json(self) -> str:
        """Return the content of report.json."""
        figures = {**asdict(self), "area_over_oracle": round(self.area_over_oracle, 3)}
        return json.dumps({"backend": "emulated", "emulated": True, **figures}, indent=2) + "\n"

    def to_text(self) -> str:
        """Return a table for the terminal."""
        heads = f"{'MODEL':14}{'SLO':>8}{'SENT':>7}{'IN SLO':>9}{'AT STEPS':>10}{'TURNS':>7}  GPU% x REPLICAS"
        lines = [f"Autoscaling on measured traffic: {self.traffic} (emulated GPUs)", heads]
        for model in self.models:
            path = " -> ".join(_steps(model.sightings))
            lines.append(
                f"{model.name:14}{f'{model.slo_ms} ms':>8}{model.sent:>7}{model.attainment_outside:>9.1%}"
                f"{model.attainment_inside:>10.1%}{model.turns:>7}  {path}"
            )
        lines.append(
            f"GPUs reserved: {self.area_over_oracle:.2f} times what an oracle reserves for the same requests"
        )
        return "\n".join(lines)

    def failures(self) -> list[str]:
        """Return a sentence for each thing that the demo promises and the run did not show."""
        is_long = self.duration_s >= LONG_S
        found = [sentence for model in self.models for sentence in self._broken_promises(model)]
        if self.traffic == STEP:
            found += [sentence for model in self.models for sentence in self._not_followed(model)]
            if not is_long and not any(self._added_replicas(model) for model in self.models):
                found.append("no model was given a second replica")
        return [*found, *self._swung()] if is_long else found

    def _broken_promises(self, model: ModelScaling) -> list[str]:
        found = []
        if model.answered < model.sent:
            found.append(
                f"{model.name}: {model.sent - model.answered} of {model.sent} requests got no answer"
            )
        for what, seen, promised in (
            ("outside the steps", model.attainment_outside, OUTSIDE),
            ("just after a step", model.attainment_inside, INSIDE),
        ):
            if seen < promised:
                found.append(f"{model.name}: {seen:.1%} in time {what}; the demo promises {promised:.0%}")
        return found

    def _swung(self) -> list[str]:
        found = [
            f"{model.name}: the direction changed {model.turns} times in a minute"
            for model in self.models
            if model.turns > MOST_TURNS
        ]
        if self.area_over_oracle > MOST_OVER_ORACLE:
            found.append(
                f"{self.area_over_oracle:.2f} times the oracle's GPUs; the bar is {MOST_OVER_ORACLE}"
            )
        return found

    def _not_followed(self, model: ModelScaling) -> list[str]:
        found = []
        step_at_s, _ = self.changes_s
        before = model.most("provided_ips", 0, step_at_s)
        if model.most("provided_ips", 0, step_at_s + FOLLOWS_S) < 1.5 * before:
            found.append(f"{model.name}: {FOLLOWS_S:.0f} s after the step no more was provided for")
        last, step_ips = model.sightings[-1], model.most("provided_ips", step_at_s, self.duration_s) - before
        if last.replicas > 1 or last.provided_ips - before > MOST_LEFT * step_ips:
            found.append(f"{model.name}: what the step was given is not given back at the end")
        return found

    def _added_replicas(self, model: ModelScaling) -> bool:
        return model.most("ready", *self.changes_s) > 1


def _share(met: Sequence[bool]) -> float:
    return sum(met) / len(met) if met else 1.0


def _bucket(from_s: float, outcomes: Sequence[Outcome], slo_ms: int) -> Bucket:
    figures = summarise(outcomes, slo_ms)
    return Bucket(from_s, figures.sent, figures.attainment, figures.p99_ms)


def _steps(sightings: Sequence[Sighting]) -> list[str]:
    """The configurations in the order in which they were seen."""
    steps: list[str] = []
    for sighting in sightings:
        step = f"{sighting.gpu_percent}x{sighting.ready}"
        if not steps or steps[-1] != step:
            steps.append(step)
    return steps
