"""Recording and alerting rules, judged by promtool on series that it is given."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.monitoring.expressions import exported, mistakes, recorded
from tests.monitoring.promtool import Promtool
from tools.monitoring.generated import COMPONENT, RULES

TESTS = sorted(Path(__file__).with_name("rules").glob("*.yaml"))
DOCS = Path(__file__).parents[2] / "docs" / "monitoring.md"
GROUPS = yaml.safe_load(RULES.read_text())
EVERY_RULE = [rule for group in GROUPS["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in EVERY_RULE if "alert" in rule]


def verdict(promtool: Promtool, folder: Path, tests: Path, rules: str) -> str:
    """What tests say of rules that are, but for a mistake, those of the file."""
    (folder / "rules.yaml").write_text(rules)
    shutil.copy(tests, folder)
    return promtool.test_rules(folder / tests.name)


@pytest.mark.parametrize("tests", TESTS, ids=lambda path: path.stem)
def test_the_rules_say_what_their_tests_expect(promtool: Promtool, tmp_path: Path, tests: Path) -> None:
    assert verdict(promtool, tmp_path, tests, RULES.read_text()) == ""


@pytest.mark.parametrize(
    ("topic", "right", "wrong"),
    [
        ("attainment", "clamp_max(14.4 *", "clamp_max(144 *"),
        ("attainment", "> 0)", ">= 0)"),
        ("attainment", "0.9)", "0.5)"),
        ("days", "clamp_max(3 *", "clamp_max(0.3 *"),
        ("health", "kneescale_device_healthy == 0", "kneescale_device_healthy == 1"),
        ("health", ":max[10m]) == 0", ":max[1m]) == 0"),
        ("health", "and max_over_time(model:kneescale_ready_or_serving:max[1d]) > 0", ""),
    ],
)
def test_the_tests_tell_wrong_rules(
    promtool: Promtool, tmp_path: Path, topic: str, right: str, wrong: str
) -> None:
    (tests,) = [path for path in TESTS if path.stem == topic]
    assert right in RULES.read_text()
    assert "FAILED" in verdict(promtool, tmp_path, tests, RULES.read_text().replace(right, wrong))


@pytest.mark.parametrize("rule", EVERY_RULE, ids=lambda rule: rule.get("record") or rule["alert"])
def test_a_rule_asks_only_for_what_there_is(rule: dict[str, str]) -> None:
    assert list(mistakes(rule["expr"], recorded(GROUPS, exported()))) == []


def test_every_alert_has_a_test() -> None:
    tested = {name for path in TESTS for name in re.findall(r"alertname: (\w+)", path.read_text())}
    assert tested == {rule["alert"] for rule in ALERTS}


def test_every_alert_is_in_the_docs_with_what_to_do() -> None:
    sections = set(re.findall(r"^### (\w+)$", DOCS.read_text(), re.MULTILINE))
    assert sections >= {rule["alert"] for rule in ALERTS}


def test_the_prometheus_operator_gets_the_same_rules() -> None:
    rule = yaml.safe_load((COMPONENT / "prometheusrule.yaml").read_text())
    assert (rule["kind"], rule["spec"]) == ("PrometheusRule", GROUPS)
