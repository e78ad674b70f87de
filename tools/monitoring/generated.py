"""The generated files, as text: written by `make monitoring`, compared by a test."""

import json
from pathlib import Path

import yaml

from harness.checkout import ROOT
from tools.monitoring.dashboards import render
from tools.monitoring.page import page
from tools.monitoring.pages import DASHBOARDS

COMPONENT = ROOT / "manifests" / "components" / "monitoring"
RULES = COMPONENT / "rules.yaml"
_MADE_OF_RULES = "# Made of rules.yaml by `make monitoring`: change that one.\n"


def generated() -> dict[Path, str]:
    """Each generated file with its text as it should be."""
    dashboards = {
        COMPONENT / "dashboards" / f"{each.uid}.json": json.dumps(render(each), indent=1) + "\n"
        for each in DASHBOARDS
    }
    return {
        ROOT / "docs" / "metrics.md": page(),
        COMPONENT / "prometheusrule.yaml": _MADE_OF_RULES + _prometheus_rule(),
        **dashboards,
    }


def _prometheus_rule() -> str:
    """The rules for the Prometheus Operator."""
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "kneescale", "namespace": "kneescale-system"},
        "spec": yaml.safe_load(RULES.read_text()),
    }
    return yaml.safe_dump(rule, sort_keys=False, width=120)
