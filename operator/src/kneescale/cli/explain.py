"""`kneescale explain`: why a model on a cluster is as it is, and what would change it."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TextIO

from kneescale.api.conditions import ConditionStatus
from kneescale.api.inference_model import KIND, InferenceModel
from kneescale.api.meta import full_name
from kneescale.cli.cluster import RESOURCES, read_cluster, read_objects
from kneescale.cli.command import Subcommands, add_output_argument, new_parser, write_json
from kneescale.cli.table import write_table
from kneescale.core.errors import InvalidInputError
from kneescale.plan.outlook import knee_in_words
from kneescale.plan.state import Observed, Settings
from kneescale.plan.what_if import Outcome, WhatIf, outcome_now, what_if
from kneescale.plan.words import counted

_HELP = """\
Says in plain words why an InferenceModel is as it is: what was asked for, what is known of the model, what
arrives, what was decided and where it runs. Then asks the operator's own plan what it would be with twice the
traffic, another SLO, one replica or one GPU more. It reads the cluster with kubectl and changes nothing."""

_EXAMPLES = f"""\
examples:
  kneescale explain resnet50
  kneescale explain resnet50 --namespace vision --context production
  kubectl get {RESOURCES} \\
    -A -o json > objects.json && kneescale explain resnet50 --objects objects.json"""

_MARKS = {ConditionStatus.TRUE: "yes", ConditionStatus.FALSE: "NO", ConditionStatus.UNKNOWN: "?"}


def add_to(subcommands: Subcommands) -> None:
    """Add the command's parser."""
    parser = new_parser(
        subcommands,
        "explain",
        summary="why a model on a cluster is as it is, and what would change it",
        description=_HELP,
        examples=_EXAMPLES,
    )
    parser.add_argument("model", metavar="MODEL", help="name of an InferenceModel")
    parser.add_argument("-n", "--namespace", default="default", help="default: %(default)s")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--context", help="of kubectl (default: the present one)")
    source.add_argument(
        "--objects", metavar="FILE", type=Path, help="what kubectl get wrote, in place of a cluster"
    )
    add_output_argument(parser, "text")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, out: TextIO) -> None:
    """Write the explanation.

    Raises InvalidInputError where the cluster cannot be read, or has no such model.
    """
    observed = read_objects(arguments.objects) if arguments.objects else read_cluster(arguments.context)
    model = _find(observed, arguments.namespace, arguments.model)
    settings = _settings(observed)
    now = outcome_now(observed, model.metadata.key, settings)
    changes = tuple(what_if(observed, model, settings))
    if arguments.output == "json":
        write_json(_as_json(model, now, changes), out)
    else:
        _write(model, now, changes, out)


def _find(observed: Observed, namespace: str, name: str) -> InferenceModel:
    for model in observed.models:
        if model.metadata.key == (namespace, name):
            return model
    for rejected in observed.rejected:
        ref = rejected.ref
        if (ref.kind, ref.namespace, ref.name) == (KIND, namespace, name):
            raise InvalidInputError(f"{namespace}/{name}: {rejected.message}")
    there = ", ".join(full_name(model.metadata.key) for model in observed.models) or "none"
    raise InvalidInputError(f"there is no InferenceModel {namespace}/{name}; there is {there}")


def _settings(observed: Observed) -> Settings:
    """The operator's, as far as they show: the limit of a GPU's area does not, so it is the usual one."""
    settings = Settings(_worker_image(observed))
    policies = [schedule.spec.policy for schedule in observed.schedules]
    return replace(settings, policy=policies[0]) if policies else settings


def _worker_image(observed: Observed) -> str:
    """What the operator made last has its image; with another one all workers would seem to be swapped."""
    images = [(pod.metadata.created_at, pod.image) for pod in observed.pods]
    images += [(job.metadata.created_at, job.worker_image) for job in observed.jobs]
    return max(images, default=("", ""))[1]


def _write(model: InferenceModel, now: Outcome, changes: Sequence[WhatIf], out: TextIO) -> None:
    spec, status = model.spec, model.status
    out.write(f"{full_name(model.metadata.key)}\n\n")
    _paragraph(out, "asked", _asked(model))
    if status.profile:
        known = f"{knee_in_words(status.knee_percent)} (ModelProfile {status.profile}"
        _paragraph(out, "known", f"{known}, backend {status.backend})")
    if status.gpu_percent:
        latency = f"{status.predicted_latency_milliseconds} ms by the profile"
        _paragraph(
            out,
            "decided",
            f"batches of {status.batch} on {status.gpu_percent} GPU%, {latency}: of the runs that take at "
            f"most half of the SLO of {spec.slo.latency_milliseconds} ms, the one of the highest efficacy",
        )
    if status.placed_on:
        _paragraph(out, "runs", status.placed_on)
    out.write("\n")
    rows = [(c.type, _MARKS[c.status], c.reason, c.message) for c in status.conditions]
    write_table(("CONDITION", "HOLDS", "REASON", "WHY"), rows, out)
    if status.scaling and status.scaling.decisions:
        out.write("\nlast decisions, the latest first\n")
        decided = [(each.at, each.reason, each.message) for each in status.scaling.decisions]
        write_table(("AT", "REASON", "NUMBERS"), decided, out)
    out.write("\nwhat would change it\n")
    write_table(
        ("IF", "GPU%", "BATCH", "REPLICAS", "PLACED"),
        [("all stays", *_cells(now)), *((each.change, *_cells(each.outcome)) for each in changes)],
        out,
    )


def _asked(model: InferenceModel) -> str:
    spec = model.spec
    fewest, most = spec.scaling.bounds
    range_ = "" if fewest == most else f"{fewest} to "
    rate = spec.expected_requests_per_second
    expected = f", at least {rate} items/s to be provided for" if rate else ""
    slo = spec.slo
    return (
        f"{spec.model.uri}: {slo.percentile} % of requests within {slo.latency_milliseconds} ms{expected}; "
        f"{range_}{counted(most, 'replica')}"
    )


def _cells(outcome: Outcome) -> Iterable[object]:
    return outcome.gpu_percent, outcome.batch, outcome.replicas, f"{outcome.placed}: {outcome.message}"


def _paragraph(out: TextIO, title: str, text: str) -> None:
    out.write(f"{title:9}{text}\n")


def _as_json(model: InferenceModel, now: Outcome, changes: Sequence[WhatIf]) -> dict[str, object]:
    return {
        "namespace": model.metadata.namespace,
        "model": model.metadata.name,
        "spec": asdict(model.spec),
        "status": asdict(model.status),
        "now": asdict(now),
        "whatIf": [{"change": each.change, **asdict(each.outcome)} for each in changes],
    }
