"""The CRD schemas and the dataclasses say the same; either one drifting fails here."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kneescale.api.gpu_schedule import GPUScheduleSpec, GPUScheduleStatus, parse_gpu_schedule
from kneescale.api.inference_model import InferenceModelSpec, InferenceModelStatus, parse_inference_model
from kneescale.api.model_profile import ModelProfileSpec, ModelProfileStatus, parse_model_profile
from kneescale.api.names import GROUP
from kneescale.core.errors import InvalidInputError
from tests.contract.refusals import MODEL, PROFILE, REFUSALS, SCHEDULE, Refusal
from tests.contract.schema import schema_of

CRDS = {
    crd["spec"]["names"]["kind"]: crd
    for path in sorted(Path("crds").glob("*s.yaml"))
    for crd in [yaml.safe_load(path.read_text())]
}
PARSERS = {
    "InferenceModel": parse_inference_model,
    "ModelProfile": parse_model_profile,
    "GPUSchedule": parse_gpu_schedule,
}
PARTS = {
    ("InferenceModel", "spec"): InferenceModelSpec,
    ("InferenceModel", "status"): InferenceModelStatus,
    ("ModelProfile", "spec"): ModelProfileSpec,
    ("ModelProfile", "status"): ModelProfileStatus,
    ("GPUSchedule", "spec"): GPUScheduleSpec,
    ("GPUSchedule", "status"): GPUScheduleStatus,
}


def root_schema(kind: str) -> dict[str, Any]:
    (version,) = CRDS[kind]["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def without_prose(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without what only people read, and without CEL rules, which have tests of their own."""
    bare = {k: v for k, v in schema.items() if k not in ("description", "x-kubernetes-validations")}
    if "properties" in bare:
        bare["properties"] = {name: without_prose(member) for name, member in bare["properties"].items()}
    if "items" in bare:
        bare["items"] = without_prose(bare["items"])
    return bare


def described_schemas(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, member in schema.get("properties", {}).items():
        yield f"{path}.{name}", member
        yield from described_schemas(member, f"{path}.{name}")
    if "properties" in schema.get("items", {}):
        yield from described_schemas(schema["items"], f"{path}[]")


def rules(schema: dict[str, Any]) -> Iterator[dict[str, str]]:
    yield from schema.get("x-kubernetes-validations", [])
    for member in (*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])):
        yield from rules(member)


@pytest.mark.parametrize(("kind", "part"), PARTS)
def test_schema_equals_dataclass(kind: str, part: str) -> None:
    assert without_prose(root_schema(kind)["properties"][part]) == schema_of(PARTS[kind, part])


@pytest.mark.parametrize("kind", PARSERS)
def test_every_field_is_explained(kind: str) -> None:
    for part in ("spec", "status"):
        part_schema = root_schema(kind)["properties"][part]
        unexplained = [
            path for path, schema in described_schemas(part_schema, part) if "description" not in schema
        ]
        assert unexplained == []


@pytest.mark.parametrize("kind", PARSERS)
def test_names_follow_the_group(kind: str) -> None:
    spec = CRDS[kind]["spec"]
    assert spec["group"] == GROUP
    assert CRDS[kind]["metadata"]["name"] == f"{spec['names']['plural']}.{GROUP}"
    assert "status" in spec["versions"][0]["subresources"]


@pytest.mark.parametrize("obj", [MODEL, PROFILE, SCHEDULE], ids=lambda obj: str(obj["kind"]))
def test_a_right_resource_is_accepted(obj: dict[str, Any]) -> None:
    PARSERS[obj["kind"]](obj)


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
def test_a_wrong_resource_is_refused_with_what_to_change(refusal: Refusal) -> None:
    with pytest.raises(InvalidInputError) as refused:
        PARSERS[refusal.resource["kind"]](refusal.obj)
    assert refusal.says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", PARSERS)
def test_every_cel_rule_has_a_refusal(kind: str) -> None:
    said = [refusal.server_says for refusal in REFUSALS if refusal.resource["kind"] == kind]
    untried = [
        rule["rule"] for rule in rules(root_schema(kind)) if not any(s in rule["message"] for s in said)
    ]
    assert untried == []
