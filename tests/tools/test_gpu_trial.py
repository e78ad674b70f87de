"""The trial on emulated models: the same dispatcher, workers and clients, without a GPU."""

import json
from pathlib import Path
from statistics import median

from tools.gpu_trial import report, trial
from tools.gpu_trial.rig import Platform, Rig
from tools.gpu_trial.subjects import Subject
from tools.gpu_trial.systems import ALONE, SYSTEMS, UNMANAGED

PRODUCT = "V100-SXM2-16GB"
SECONDS = 1.5
EMULATED = {
    "KNEESCALE_BACKEND": "emulated",
    "KNEESCALE_PRODUCT": PRODUCT,
    "KNEESCALE_TIER": "mps-processes",
}


def test_every_system_serves_all_models_under_each_load(short_dir: Path) -> None:
    subjects = [_subject("alexnet", 100), _subject("resnet50", 250)]
    lines: list[str] = []
    rig = Rig(Platform(EMULATED, max_batch=8, profile_seconds=5), short_dir)
    surfaces = rig.profiles(subjects)
    runs = list(trial.run(rig, subjects, surfaces, trial.Plan((0.1,), SECONDS), lines.append))

    seen = {(run.system, run.load, run.model) for run in runs}
    assert seen == {(system.name, 0.1, subject.name) for system in (ALONE, *SYSTEMS) for subject in subjects}
    assert all(len(run.answers.latencies_ms) > 0 for run in runs)
    # Clients of all models began together: who begins late finds all of its requests overdue.
    assert all(_median_ms(run) < 1000 * SECONDS for run in runs)
    assert all(
        run.batches is not None and run.batches.items > 0 for run in runs if run.system != UNMANAGED.name
    )
    document = json.loads(report.to_json({"name": "emulated"}, surfaces, runs))
    assert len(document["runs"]) == len(runs)
    assert {row[0] for row in document["surfaces"]["alexnet"]} >= {10, 100}
    assert len(report.table(runs)) == 2 + len(SYSTEMS)


def _median_ms(run: trial.OneRun) -> float:
    return median(latency for latency in run.answers.latencies_ms if latency is not None)


def _subject(name: str, slo_ms: int) -> Subject:
    env = (("KNEESCALE_MODEL_URI", f"catalog://{name}"), ("KNEESCALE_MODEL_FORMAT", "Emulated"))
    return Subject(name, slo_ms, env)
