"""docs/metrics.md: every metric, from the tables that export them."""

from collections.abc import Iterator

from kneescale.telemetry.declared import LABELS, Metric
from tools.monitoring.parts import PARTS, Part

_HEAD = """\
# Metrics

Generated from the code by `make monitoring`; a test fails when it is not up to date. How to scrape them, what
to be alarmed by, and dashboards: [monitoring](monitoring.md).

Operator, agents and workers show their metrics to Prometheus at `/metrics`. A GPU-second is a whole GPU for a
second (GPU area); an item is one row of a request's batch dimension. Samples have no `node`, and those of
workers no `namespace`: these are the target's, as those of its pod.
"""


def page() -> str:
    """The page as it should be."""
    return "\n".join([_HEAD, *map(_section, PARTS), _labels()])


def _section(part: Part) -> str:
    rows = [
        f"| `{metric.name}` | {metric.kind} | {_labels_of(metric)} | {_text(metric)} |"
        for metric in part.metrics
    ]
    head = f"## The {part.name}: port {part.port}\n\n| metric | kind | labels | |\n|---|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


def _labels_of(metric: Metric) -> str:
    return ", ".join(f"`{label}`" for label in metric.labels)


def _text(metric: Metric) -> str:
    if not metric.buckets:
        return metric.help
    return f"{metric.help}; buckets up to {', '.join(f'{bound:g}' for bound in metric.buckets)}"


def _labels() -> str:
    return "## Labels\n\n| label | values |\n|---|---|\n" + "\n".join(_label_rows()) + "\n"


def _label_rows() -> Iterator[str]:
    used = {label for part in PARTS for metric in part.metrics for label in metric.labels}
    for label in sorted(used):
        yield f"| `{label}` | {LABELS[label]} |"
