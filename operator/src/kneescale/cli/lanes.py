"""`--lanes`: what the lanes of the product's workers are taken to be."""

import argparse
from dataclasses import replace

from kneescale.cli.limits import whole
from kneescale.sim.product import FREE
from kneescale.sim.scenario import Scenario
from kneescale.sim.systems import ABLATIONS, PAPER, Variant, product_variants

#: Of each worker: `free`, any GPU% per batch; so many, chosen by the planner; or `paper`, the paper's one.
Lanes = int | str

#: To choose more takes minutes.
_MAX_LANES = 16

_NAMED = (FREE, PAPER)

#: The product's dispatcher; the one policy beside its ABLATIONS whose lanes can be chosen.
PRODUCT = "dstack"


def add_lanes_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--lanes`."""
    parser.add_argument(
        "--lanes",
        metavar="free|K|paper",
        type=_lanes,
        default=FREE,
        help="of the product's workers: any GPU%% per batch, K lanes per model chosen by the planner, or the "
        "paper's single one (default: %(default)s); each of K takes the model's memory once more",
    )


def has_lanes(policy: str) -> bool:
    """Whether `variants_on` knows the policy."""
    return policy == PRODUCT or policy in ABLATIONS


def variants_on(lanes: Lanes, policy: str = PRODUCT) -> tuple[Variant, ...]:
    """The product's dispatcher, or an ablation of it, where its workers have those lanes."""
    return product_variants(lanes, **ABLATIONS.get(policy, {}))


def clients_of(lanes: Lanes) -> int:
    """The MPS clients of each worker, and the copies of its weights: one for each lane (ADR 21).

    With any GPU% per batch a worker is one.
    """
    return lanes if isinstance(lanes, int) else 1


def with_copies(scenario: Scenario, lanes: Lanes) -> Scenario:
    """The scenario with the memory that workers of such lanes take."""
    copies = clients_of(lanes)
    models = tuple(replace(model, memory_gib=copies * model.memory_gib) for model in scenario.models)
    return replace(scenario, models=models)


def _lanes(text: str) -> Lanes:
    return text if text in _NAMED else whole(1, _MAX_LANES)(text)
