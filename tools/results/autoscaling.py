"""The part of docs/results.md on autoscalers: traces, figures, pictures."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import fill

from kneescale.cli.autoscale import Outcomes, compare_all, over_oracle
from kneescale.cli.autoscale_picture import draw_autoscalers
from kneescale.core.scaling.autoscaler import QUICK_STABILISATION_S, STABILISATION_S
from kneescale.core.surfaces.catalog import catalog
from kneescale.sim.autoscaling.autoscalers import AUTOSCALERS, ORACLE
from kneescale.sim.autoscaling.scene import DEFAULT_START_S, Scene
from kneescale.sim.scenario import Arrivals, Bursty, Scenario, ScenarioGpu, ScenarioModel, Shaped
from kneescale.sim.shapes import SHAPES
from kneescale.sim.trial import Trial
from tools.results.tables import table

TITLE = "## Autoscaling (simulated)"
DURATION_S = 600.0
WARMUP_S = 20.0
GPUS = 6
#: (model, SLO in ms, peak rate): one that needs more than a GPU at its peak, and a small one beside it.
_MODELS = (("wide_resnet101_2", 150.0, 240.0), ("efficientnet_b7", 300.0, 20.0))
#: What the autoscaler's constants were chosen on, and what it is judged by.
TUNED_ON_SEED, JUDGED_ON_SEEDS = 1, (101, 102)
#: The mean rate of bursts, as a part of the peak of the other traces.
_BURSTY_LOAD = 0.5
_BARS = {"attainment": 0.99, "after step": 0.95, "over oracle": 1.25, "turns": 1}


def scenes(seed: int) -> dict[str, Scene]:
    """The traces by name, each with all models."""
    shaped = {name: _scene(Shaped(shape), seed) for name, shape in SHAPES.items()}
    return {**shaped, "bursty": _scene(Bursty(), seed, _BURSTY_LOAD)}


def run_autoscaling(docs: Path) -> str:
    """Simulate all, draw a picture of each trace beside the page, and return the section's text."""
    asked = {
        (seed, name): (list(AUTOSCALERS) if seed == TUNED_ON_SEED else ["kneescale", ORACLE], scene)
        for seed in (TUNED_ON_SEED, *JUDGED_ON_SEEDS)
        for name, scene in scenes(seed).items()
    }
    found = compare_all({f"seed {seed}, {name}": each for (seed, name), each in asked.items()})
    by_seed: dict[int, dict[str, Outcomes]] = {}
    for (seed, name), outcomes in zip(asked, found.values(), strict=True):
        by_seed.setdefault(seed, {})[name] = outcomes
    for name, outcomes in by_seed[TUNED_ON_SEED].items():
        draw_autoscalers(outcomes, asked[TUNED_ON_SEED, name][1], docs / _picture(name))
    return "\n\n".join(_section(by_seed))


def with_section(page: str, section: str) -> str:
    """The page with this section in place of the one of the same title, or at its end."""
    title = section.split("\n", 1)[0]
    before, found, after = page.partition(f"{title}\n")
    if not found:
        return f"{page.rstrip()}\n\n{section}\n"
    _, next_title, rest = after.partition("\n## ")
    return f"{before}{section}\n{next_title}{rest}"


def _scene(arrivals: Arrivals, seed: int, load: float = 1.0) -> Scene:
    catalogued = {model.name: model for model in catalog()}
    models = []
    for name, slo_ms, rate_rps in _MODELS:
        surface = catalogued[name].surface()
        surfaces = {catalogued[name].product: surface}
        models.append(ScenarioModel(name, slo_ms, rate_rps, 1, surface, surfaces))
    (product,) = {product for model in models for product in model.surfaces}
    gpus = tuple(ScenarioGpu(f"gpu{number}", product) for number in range(GPUS))
    trial = Trial(arrivals, DURATION_S, WARMUP_S, (seed,))
    return Scene(Scenario(tuple(models), gpus, arrivals), trial, load)


def _section(by_seed: Mapping[int, Mapping[str, Outcomes]]) -> Iterator[str]:
    outcomes = by_seed[TUNED_ON_SEED]
    yield f"{TITLE}\n\n{_wrapped(_INTRODUCTION)}"
    yield answers(by_seed)
    yield f"All autoscalers, with seed {TUNED_ON_SEED}:"
    yield table(
        _COLUMNS, [_row(trace, of_one, name) for trace, of_one in outcomes.items() for name in of_one]
    )
    for trace in outcomes:
        yield f"![Rate, replicas, GPUs and p99 over time: {trace}]({_picture(trace)})"


def _wrapped(text: str) -> str:
    return "\n\n".join(fill(part, 110, break_on_hyphens=False) for part in text.split("\n\n"))


def answers(by_seed: Mapping[int, Mapping[str, Outcomes]]) -> str:
    """How the product's autoscaler did with each seed, beside what was asked of it."""
    columns = [_answers_with(outcomes) for outcomes in by_seed.values()]
    asked = [
        f"attainment at least {_BARS['attainment']} apart from the 15 s after a step",
        f"at least {_BARS['after step']} in them",
        f"GPUs reserved: at most {_BARS['over oracle']} of the oracle's",
        f"at most {_BARS['turns']} change of direction a minute",
    ]
    titles = [f"seed {seed}{' (tuned on)' if seed == TUNED_ON_SEED else ''}" for seed in by_seed]
    return table(["asked", *titles], [list(row) for row in zip(asked, *columns, strict=True)])


def _answers_with(outcomes: Mapping[str, Outcomes]) -> list[str]:
    ours = {trace: of_one["kneescale"].figures for trace, of_one in outcomes.items()}
    return [
        _by_trace({trace: f"{figures.otherwise:.3f}" for trace, figures in ours.items()}),
        _by_trace({t: f"{f.after_step:.3f}" for t, f in ours.items() if f.after_step is not None}),
        _by_trace({trace: f"{over_oracle(of_one, 'kneescale'):.2f}" for trace, of_one in outcomes.items()}),
        _by_trace({trace: str(figures.turns) for trace, figures in ours.items()}),
    ]


def _by_trace(values: Mapping[str, str]) -> str:
    return ", ".join(f"{trace} {value}" for trace, value in values.items())


_COLUMNS = [
    *("trace", "autoscaler", "after step", "otherwise", "GPUs reserved", "of the oracle's", "GPUs used"),
    *("turns", "replicas", "parameters"),
]


def _row(trace: str, outcomes: Outcomes, name: str) -> list[str]:
    figures, parameters = outcomes[name].figures, outcomes[name].parameters
    after_step = "" if figures.after_step is None else f"{figures.after_step:.3f}"
    replicas = figures.over_time.replicas
    return [
        *(trace, name, after_step, f"{figures.otherwise:.3f}", f"{figures.reserved_gpus:.2f}"),
        *(f"{over_oracle(outcomes, name):.2f}", f"{figures.used_gpus:.2f}", str(figures.turns)),
        *(f"{min(replicas)} to {max(replicas)}", parameters),
    ]


def _picture(trace: str) -> str:
    return f"autoscaling-{trace}.png"


_MODELS_TEXT = ", ".join(
    f"{name} (SLO {slo_ms:g} ms, up to {rate_rps:g} requests/s)" for name, slo_ms, rate_rps in _MODELS
)
_INTRODUCTION = f"""\
`kneescale simulate --autoscale`, regenerated alone by `make results ONLY=autoscaling`: {_MODELS_TEXT} on up
to {GPUS} simulated GPUs for {DURATION_S:.0f} s, of which the first {WARMUP_S:.0f} s do not count; a new
worker takes {DEFAULT_START_S:g} s to start. The traces are in `kneescale/sim/shapes.py`: a step to four
times the rate and back, a ramp, a day in ten minutes, a spike of 30 s to four times the rate, all Poisson;
and a two-state MMPP of {_BURSTY_LOAD:g} of the rates (`bursty`).

`kneescale` is the code that the operator runs, on reports every two seconds. The others have replicas of
one fixed GPU% each, as MPS partitions that nothing else slows down and that batch as the product's workers
do, which is better than what they have; busy time stands for CPU use. The Kubernetes HPA and Knative's
autoscaler follow their documentation with its defaults, with the target of those tried that reaches 0.99
with the fewest GPUs (`kneescale/sim/baselines/autoscalers`). The oracle plans like the product, for the
true rate of each second, with workers that start at once. Attainment is the worst model's, *after step*
that of the 15 s after a step up; *GPUs reserved* is what the plan takes of GPUs that are filled to their
limit, or the fixed GPU%s; *turns* is the most changes of direction of what a model is provided for in any
minute.

The constants of `core/scaling` were chosen by looking at these very traces with seed {TUNED_ON_SEED}, and at
some of them with seeds 2 to 60: judge it by the other seeds. What was needed in the last
{STABILISATION_S:g} s stays provided for, or in the last {QUICK_STABILISATION_S:g} s where it was very much
less, so that the direction hardly ever changes twice in a minute: the shorter a peak, the more that costs
over the oracle. A peak of 20 s costs whoever keeps to that 1.18 of the oracle's GPUs, whatever else he
knows, one of 30 s 1.13: so the spike lasts 30 s.
And the product's workers use what nobody else does of their GPUs, reserved or not: here the GPUs have room
when a step comes, and on fuller ones more requests would be late until the new worker is up."""
