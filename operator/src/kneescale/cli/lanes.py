"""`--lanes`: what the lanes of the product's workers are taken to be."""

import argparse

from kneescale.cli.limits import whole
from kneescale.sim.dispatched import FREE
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
        "paper's single one (default: %(default)s)",
    )


def has_lanes(policy: str) -> bool:
    """Whether `variants_on` knows the policy."""
    return policy == PRODUCT or policy in ABLATIONS


def variants_on(lanes: Lanes, policy: str = PRODUCT) -> tuple[Variant, ...]:
    """The product's dispatcher, or an ablation of it, where its workers have those lanes."""
    return product_variants(lanes, **ABLATIONS.get(policy, {}))


def _lanes(text: str) -> Lanes:
    return text if text in _NAMED else whole(1, _MAX_LANES)(text)
