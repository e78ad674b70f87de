"""Figures of many jobs, brought together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import geometric_mean, mean

from kneescale.sim.outcome import Outcome
from tools.results.study import Capacity

#: What no schedule that an admin can run today does: a bound, and greedy rules with the product's own lanes.
NOT_PUBLISHED = ("ideal", "max-throughput-free", "max-min-free")

#: A capacity of nothing at all would make every ratio infinite: it counts as the search's resolution.
LEAST_FRACTION = 0.01


@dataclass(frozen=True, slots=True)
class Results:
    """What every job gave, by study/mix/system/seed."""

    by_job: Mapping[str, Capacity | Outcome]

    def capacity(self, mix: str, system: str, study: str = "capacity") -> float:
        """The fraction of the bound that a system carries of a mix: the mean over its seeds."""
        prefix = f"{study}/{mix}/{system}/"
        found = [done for job, done in self.by_job.items() if job.startswith(prefix)]
        return mean(done.fraction for done in found if isinstance(done, Capacity))

    def overload(self, mix: str, system: str) -> Outcome:
        """What became of a mix at more than the bound's load."""
        outcome = self.by_job[f"overload/{mix}/{system}/1"]
        assert isinstance(outcome, Outcome)
        return outcome

    def parameters(self, mix: str, system: str) -> str:
        """Those that suit the mix best, with the first seed."""
        found = self.by_job[f"capacity/{mix}/{system}/1"]
        assert isinstance(found, Capacity)
        return found.parameters

    def baselines(self) -> list[str]:
        """The published systems, and temporal sharing."""
        systems = dict.fromkeys(job.split("/")[2] for job in self.by_job if job.startswith("capacity/"))
        return [name for name in systems if not name.startswith("dstack") and name not in NOT_PUBLISHED]

    def best_baseline(self, mix: str) -> str:
        """The baseline that carries most of the mix."""
        return max(self.baselines(), key=lambda system: self.capacity(mix, system))

    def gain(self, mixes: Iterable[str], over: str) -> float:
        """How many times the load of a system dstack carries: the geometric mean over mixes."""
        return geometric_mean(
            self.capacity(mix, "dstack") / max(LEAST_FRACTION, self.capacity(mix, over)) for mix in mixes
        )

    def gain_over_best(self, mixes: Iterable[str]) -> float:
        """The same over the baseline that is best for each mix."""
        return geometric_mean(
            self.capacity(mix, "dstack") / max(LEAST_FRACTION, self.capacity(mix, self.best_baseline(mix)))
            for mix in mixes
        )
