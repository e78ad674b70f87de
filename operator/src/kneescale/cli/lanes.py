"""`--lanes`: what the lanes of the product's workers are taken to be."""

import argparse
from functools import partial

from kneescale.cli.limits import whole
from kneescale.sim.dispatched import dispatched
from kneescale.sim.engine import scheduled
from kneescale.sim.systems import SYSTEMS, Variant

#: Of each worker: `free`, any GPU% per batch; so many, chosen by the planner; or `paper`, the paper's one.
Lanes = int | str

#: To choose more takes minutes.
_MAX_LANES = 16

_SYSTEMS = {"free": "dstack", "paper": "dstack-paper"}


def add_lanes_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--lanes`."""
    parser.add_argument(
        "--lanes",
        metavar="free|K|paper",
        type=_lanes,
        default="free",
        help="of the product's workers: any GPU%% per batch, K lanes per model chosen by the planner, or the "
        "paper's single one (default: %(default)s)",
    )


def variants_on(lanes: Lanes) -> tuple[Variant, ...]:
    """The product's dispatcher where its workers have those lanes."""
    if isinstance(lanes, int):
        return (Variant("", scheduled(partial(dispatched, lanes=lanes))),)
    return SYSTEMS[_SYSTEMS[lanes]]


def _lanes(text: str) -> Lanes:
    return text if text in _SYSTEMS else whole(1, _MAX_LANES)(text)
