"""What a run of chaos showed: a table for the terminal, a picture, and a verdict."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.chaos.account import Adversity, attainment_over_time, overall, unexplained
from e2e.demo.figures import Outcome, summarise
from kneescale.cli.plotting import Figure, save

#: So that errors that differ by a number alone are one.
_NUMBER = re.compile(r"\d+")
#: What failed at most so long after another is told as one with it.
_GAP_S = 3.0


@dataclass(frozen=True, slots=True)
class Report:
    """A run: the outcomes and the SLO of each model, what happened to it, and what was wrong at the end."""

    seed: int
    begin_s: float
    duration_s: float
    planned_area: float
    outcomes: Mapping[str, Sequence[Outcome]]
    slo_ms: Mapping[str, int]
    adversity: Adversity
    left_over: Sequence[str]
    #: A sentence for each agent that could not say what it had granted before a fault ended it.
    unread: Sequence[str] = ()

    def failures(self) -> list[str]:
        """A sentence for each thing that must not be."""
        found = [*self.left_over, *self._never_came_to_pass()]
        for model, of_one in self.outcomes.items():
            alike: dict[str, list[float]] = {}
            for each in unexplained(model, of_one, self.slo_ms[model], self.adversity):
                at_s = each.due_s - self.begin_s
                alike.setdefault(_NUMBER.sub("N", each.error), []).append(at_s)
            found += [
                f"{model}: {len(times_s)} x {error} ({', '.join(_spans(times_s))})"
                for error, times_s in alike.items()
            ]
        return found

    def _never_came_to_pass(self) -> Iterator[str]:
        """A sentence for each kind of fault of which the run says nothing, though it was drawn."""
        errors: dict[str, list[str]] = {}
        for fault in self.adversity.struck:
            errors.setdefault(fault.fault, []).append(fault.error)
        for kind, of_one in errors.items():
            if all(of_one):
                yield f"{kind}: drawn {len(of_one)} times and never in full; the last one {of_one[-1]}"

    def to_text(self) -> str:
        """The faults as they came, then a line per model."""
        struck = self.adversity.struck
        lines = [
            f"{self.duration_s / 60:g} minutes, seed {self.seed}, emulated GPUs planned "
            f"{self.planned_area:.0%} full, {len(struck)} faults, "
            f"{sum(bool(fault.error) for fault in struck)} of them not or only half-way, "
            f"no free core in {len(self.adversity.short_s)} seconds"
        ]
        for fault in struck:
            at_s, took_s = fault.began_s - self.begin_s, fault.ended_s - fault.began_s
            error = f": {fault.error}" if fault.error else ""
            lines.append(f"  {at_s:7.1f} s  {fault.fault:<28} {fault.victim} ({took_s:.1f} s){error}")
        lines += [f"  {sentence}" for sentence in self.unread]
        if short_s := [at_s - self.begin_s for at_s in self.adversity.short_s]:
            lines.append(f"  no free core: {', '.join(_spans(short_s))}")
        for model, of_one in self.outcomes.items():
            figures = summarise(of_one, self.slo_ms[model])
            lines.append(
                f"  {model:<14} {figures.sent} sent, {figures.sent - figures.correct} failed, "
                f"attainment {figures.attainment:.4f}, p50 {figures.p50_ms} ms, p99 {figures.p99_ms} ms"
            )
        lines.append(f"  all            attainment {overall(self.outcomes, self.slo_ms):.4f}")
        return "\n".join(lines)

    def draw(self, path: Path) -> None:
        """Draw each model's attainment over time, with the faults."""
        figure = Figure(figsize=(16, 2.6 * len(self.outcomes) + 1.5), layout="constrained")
        rows = figure.subplots(len(self.outcomes), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (model, of_one) in zip(rows, self.outcomes.items(), strict=True):
            points = attainment_over_time(of_one, self.slo_ms[model], self.begin_s)
            axes.step(*zip(*points, strict=True), where="post", linewidth=1)
            axes.set(ylim=(-0.03, 1.03), xlim=(0, self.duration_s))
            axes.set_ylabel("attainment", fontsize=8)
            axes.set_title(f"{model} (SLO {self.slo_ms[model]} ms)", loc="left", fontsize=10)
            for fault in self.adversity.struck:
                axes.axvline(fault.began_s - self.begin_s, color="tab:red", linewidth=0.5)
        for fault in self.adversity.struck:
            where = (fault.began_s - self.begin_s, 0.02)
            rows[-1].annotate(fault.fault, where, rotation=90, fontsize=6, color="tab:red")
        rows[-1].set_xlabel("seconds")
        figure.suptitle(f"Attainment under faults, emulated GPUs, seed {self.seed}", x=0.01, ha="left")
        save(figure, path)


def _spans(times_s: Sequence[float]) -> Iterator[str]:
    """When it was, in whole seconds, and how often each time."""
    span: list[float] = []
    for time_s in sorted(times_s):
        if span and time_s - span[-1] > _GAP_S:
            yield _in_words(span)
            span = []
        span.append(time_s)
    yield _in_words(span)


def _in_words(span: Sequence[float]) -> str:
    return f"{len(span)} from {span[0]:.0f} to {span[-1]:.0f} s"
