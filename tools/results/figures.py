"""Figures of many jobs, brought together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import geometric_mean, mean

from kneescale.sim.outcome import Outcome
from kneescale.sim.systems import SYSTEMS
from tools.results.study import Capacity

#: A bound, and greedy rules with the product's own lanes: nothing that an admin can run today.
_NO_BASELINES = ("ideal", "max-throughput-free", "max-min-free")
BASELINES = [name for name in SYSTEMS if not name.startswith("dstack") and name not in _NO_BASELINES]
#: Static partitions found by search over all of them are nobody's system (docs/adr/0018).
PUBLISHED = [name for name in BASELINES if name != "static-partitions"]

#: A capacity of nothing at all would make every ratio infinite: it counts as a hundredth.
LEAST_FRACTION = 0.01


@dataclass(frozen=True, slots=True)
class Results:
    """What every job gave, by study/mix/system."""

    by_job: Mapping[str, Capacity | Outcome]

    def capacity(self, mix: str, system: str, study: str = "capacity") -> float:
        """The fraction of the bound that a system carries of a mix: the mean over its seeds."""
        return self._capacity_job(f"{study}/{mix}/{system}").fraction

    def with_first_seeds(self, mix: str, system: str, count: int) -> float:
        """The same with the first seeds alone; all systems were tried with the very first."""
        return mean(self._capacity_job(f"capacity/{mix}/{system}").fractions[:count])

    def overload(self, mix: str, system: str) -> Outcome:
        """What became of a mix at more than the bound's load."""
        outcome = self.by_job[f"overload/{mix}/{system}"]
        assert isinstance(outcome, Outcome)
        return outcome

    def parameters(self, mix: str, system: str) -> str:
        """Those that suit the mix best, with the first seed."""
        return self._capacity_job(f"capacity/{mix}/{system}").parameters

    def best(self, mix: str, among: Iterable[str]) -> str:
        """The system that carries most of the mix."""
        return max(among, key=lambda system: self.capacity(mix, system))

    def ratio(self, mix: str, over: str, system: str = "dstack") -> float:
        """How many times the load of another system one carries of a mix, with the seeds of both."""
        ours, theirs = (self._capacity_job(f"capacity/{mix}/{name}").fractions for name in (system, over))
        seeds = min(len(ours), len(theirs))
        return mean(ours[:seeds]) / max(LEAST_FRACTION, mean(theirs[:seeds]))

    def gain(self, mixes: Iterable[str], over: str) -> float:
        """The ratio to a system: the geometric mean over mixes."""
        return geometric_mean(self.ratio(mix, over) for mix in mixes)

    def gain_over_best(self, mixes: Iterable[str], among: Iterable[str]) -> float:
        """The same to the one of those systems that is best for each mix."""
        return geometric_mean(self.ratio(mix, self.best(mix, among)) for mix in mixes)

    def _capacity_job(self, name: str) -> Capacity:
        found = self.by_job[name]
        assert isinstance(found, Capacity)
        return found
