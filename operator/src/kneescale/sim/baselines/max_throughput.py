"""Max-throughput: the run with the most requests for its GPU area goes first, whoever starves."""

from collections.abc import Sequence

from kneescale.sim.baselines.greedy import Greedy, Option


class MaxThroughput(Greedy):
    """Takes the model that gives most requests per GPU area now.

    The baseline of D-STACK (arXiv 2304.13541), as recalled: a schedule for the largest total throughput,
    with no regard to fairness.
    """

    def choose(self, found: Sequence[tuple[int, Option]]) -> tuple[int, Option]:
        """The cheapest run per request."""
        return min(found, key=lambda run: run[1].area / run[1].batch)
