"""The trial's report, for people and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

from harness.percentile import percentile
from kneescale.core.surfaces.surface import LatencySurface
from tools.gpu_trial.trial import OneRun


def table(runs: Sequence[OneRun]) -> list[str]:
    """Attainment of each model, a line for each system and load."""
    models = list(dict.fromkeys(run.model for run in runs))
    lines = [f"{'attainment':22} {'load':>5} " + " ".join(f"{model:>16}" for model in models)]
    for system, load in dict.fromkeys((run.system, run.load) for run in runs):
        cells = {run.model: _cell(run) for run in runs if (run.system, run.load) == (system, load)}
        lines.append(
            f"{system:22} {load:5.2f} " + " ".join(f"{cells.get(model, ''):>16}" for model in models)
        )
    return lines


def to_json(
    platform: Mapping[str, str], surfaces: Mapping[str, LatencySurface], runs: Sequence[OneRun]
) -> str:
    """Everything but each single latency."""
    document = {
        "platform": dict(platform),
        "surfaces": {
            name: [
                [gpu_percent, batch, round(surface.latency_ms(gpu_percent, batch), 3)]
                for gpu_percent, batch in product(surface.gpu_percents, surface.batches)
            ]
            for name, surface in surfaces.items()
        },
        "runs": [_summary(run) for run in runs],
    }
    return json.dumps(document, indent=1) + "\n"


def _cell(run: OneRun) -> str:
    return f"{run.answers.attainment(run.slo_ms):.3f} {run.rate_rps:5.0f}/s"


def _summary(run: OneRun) -> dict[str, Any]:
    answered = [latency for latency in run.answers.latencies_ms if latency is not None]
    return {
        "system": run.system,
        "load": run.load,
        "model": run.model,
        "slo_ms": run.slo_ms,
        "rate_rps": round(run.rate_rps, 1),
        "sent": len(run.answers.latencies_ms),
        "answered": len(answered),
        "attainment": round(run.answers.attainment(run.slo_ms), 4),
        "p50_ms": percentile(answered, 50),
        "p99_ms": percentile(answered, 99),
        "batches": run.batches and asdict(run.batches),
        "cpus_busy": round(run.cpus_busy, 1),
    }
