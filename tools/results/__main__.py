"""Simulate all that docs/results.md shows, and write it and its pictures."""

import argparse
from collections.abc import Mapping
from pathlib import Path

import yaml

from harness.checkout import ROOT
from kneescale.cli.pool import run_all
from kneescale.cli.profiles import read_profiles
from kneescale.core.surfaces.catalog import catalog
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.sim.mixes import PAPER_MIXES
from tools.results.autoscaling import run_autoscaling, with_section
from tools.results.figures import Results
from tools.results.mixes import Models, fresh_mixes, measured_mixes, unseen_mixes
from tools.results.page import Page, Source
from tools.results.pictures import draw_capacities, draw_knees, draw_timelines
from tools.results.study import duration_s, jobs

DOCS = ROOT / "docs"
SCENARIOS = Path("build/results")
SHIPPED = Source(
    kind="fitted",
    text="the fitted figures that the product ships (`core/surfaces/catalog.py` names their source)",
    command="make results",
)


def main() -> None:
    """Run everything; progress goes to stderr."""
    parser = argparse.ArgumentParser(prog="python -m tools.results", description=__doc__)
    parser.add_argument("--profiles", type=Path, help="CSV of measured surfaces (default: the catalog's)")
    parser.add_argument("--source", help="where they come from, for the page")
    parser.add_argument("--only", choices=("autoscaling",), help="do that section anew, and leave the rest")
    arguments = parser.parse_args()
    if bool(arguments.profiles) != bool(arguments.source):
        parser.error("--profiles and --source go together: the page says where its surfaces come from")
    page = DOCS / "results.md"
    if arguments.only:
        page.write_text(with_section(page.read_text(), run_autoscaling(DOCS)))
    else:
        source = measured_source(arguments.profiles, arguments.source) if arguments.profiles else SHIPPED
        page.write_text(_whole_page(arguments.profiles, source))


def measured_source(profiles: Path, text: str) -> Source:
    """What the page says of measured surfaces."""
    return Source("measured", text, f'make results PROFILES={profiles.name} SOURCE="..."')


def _whole_page(profiles: Path | None, source: Source) -> str:
    """Everything, with its pictures and scenarios."""
    surfaces = _measured(profiles) if profiles else _shipped()
    measured, unseen, fresh = measured_mixes(surfaces), unseen_mixes(), fresh_mixes()
    mixes = {**measured, **unseen, **fresh}
    _write_scenarios(mixes)
    results = Results(run_all(jobs(measured, unseen, fresh)))
    draw_capacities(results, [*measured, *unseen], DOCS / "capacity.png")
    draw_timelines(measured["C-4"], DOCS / "schedules.png")
    draw_knees({name: surfaces[name] for name in PAPER_MIXES["C-7"]}, DOCS / "knees.png")
    page = Page(
        results=results,
        source=source,
        measured=list(measured),
        unseen=list(unseen),
        fresh=list(fresh),
        durations_s={name: duration_s(models) for name, models in mixes.items()},
        autoscaling=run_autoscaling(DOCS),
    )
    return page.text()


def _measured(path: Path) -> dict[str, LatencySurface]:
    return {profile.model: LatencySurface.from_points(profile.points) for profile in read_profiles(path)}


def _shipped() -> dict[str, LatencySurface]:
    return {model.name: model.surface() for model in catalog()}


def _write_scenarios(mixes: Mapping[str, Models]) -> None:
    """A scenario and its profiles for each mix, for `kneescale` to read."""
    SCENARIOS.mkdir(parents=True, exist_ok=True)
    for name, models in mixes.items():
        rows = [
            f"{model.name},{point.batch},{point.gpu_percent},{point.latency_ms}"
            for model in models
            for point in model.surface.points
        ]
        header = "model,batch,gpu_percent,latency_ms"
        (SCENARIOS / f"{name}.csv").write_text("\n".join([header, *rows, ""]))
        scenario = {
            "profiles": f"{name}.csv",
            "models": [
                {
                    "name": model.name,
                    "profile": model.name,
                    "slo_ms": round(model.slo_ms, 3),
                    "rate": round(model.rate_rps, 3),
                }
                for model in models
            ],
        }
        (SCENARIOS / f"{name}.yaml").write_text(yaml.safe_dump(scenario, sort_keys=False))


if __name__ == "__main__":
    main()
