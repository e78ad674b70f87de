"""A cluster as kubectl shows it: the objects that the plan looks at, with the user's own credentials."""

import json
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kneescale.api.names import MANAGED_BY, MANAGED_BY_LABEL
from kneescale.cli.text_files import read_json
from kneescale.core.errors import InvalidInputError
from kneescale.plan.state import Observed

#: Of these only what Kneescale made counts.
_OURS = ("Pod", "Job", "ResourceClaim")
RESOURCES = (
    "inferencemodels.kneescale.dev,modelprofiles.kneescale.dev,gpuschedules.kneescale.dev,"
    "resourceslices.resource.k8s.io,nodes,pods,jobs,resourceclaims.resource.k8s.io"
)
_PATIENCE_S = 60.0


def read_cluster(context: str | None) -> Observed:
    """The cluster of the present kubectl context, or of another one.

    Raises InvalidInputError with kubectl's own words where it cannot be read.
    """
    argv = ["kubectl", *(["--context", context] if context else []), "get", RESOURCES, "-A", "-o", "json"]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S, check=False
        )
    except FileNotFoundError:
        raise InvalidInputError("kubectl is not on the PATH; or save the objects and use --objects") from None
    except OSError as error:
        raise InvalidInputError(f"kubectl: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise InvalidInputError(f"kubectl gave no answer within {_PATIENCE_S:.0f} s") from None
    if done.returncode:
        raise InvalidInputError(
            done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "kubectl failed"
        )
    try:
        listing = json.loads(done.stdout)
    except ValueError as error:
        raise InvalidInputError("kubectl gave no JSON") from error
    return _observed(listing, "kubectl")


def read_objects(path: Path) -> Observed:
    """The same from a file that `kubectl get ... -o json` wrote. Raises InvalidInputError naming it."""
    return _observed(read_json(path), str(path))


def _observed(listing: Any, source: str) -> Observed:  # noqa: ANN401
    if not isinstance(listing, Mapping) or not isinstance(listing.get("items"), list):
        raise InvalidInputError(
            f"{source}: is not a list of objects, as `kubectl get {RESOURCES} -o json` gives"
        )
    by_kind: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for index, obj in enumerate(listing["items"]):
        if fault := _fault(obj):
            raise InvalidInputError(f"{source}: items[{index}] {fault}")
        kind = obj["kind"]
        if kind not in _OURS or _is_ours(obj):
            by_kind[kind].append(obj)
    return Observed.from_objects(
        now=datetime.now(UTC),
        models=by_kind["InferenceModel"],
        profiles=by_kind["ModelProfile"],
        schedules=by_kind["GPUSchedule"],
        slices=by_kind["ResourceSlice"],
        pods=by_kind["Pod"],
        jobs=by_kind["Job"],
        claims=by_kind["ResourceClaim"],
        nodes=by_kind["Node"],
    )


def _fault(obj: Any) -> str | None:  # noqa: ANN401
    """What no object of a cluster can be like; what is below is checked where it is read."""
    if not isinstance(obj, Mapping) or not isinstance(kind := obj.get("kind"), str):
        return "is not an object with a kind"
    metadata = obj.get("metadata")
    if not isinstance(metadata, Mapping) or not isinstance(name := metadata.get("name"), str):
        return f"({kind}) has no metadata with a name"
    if not isinstance(metadata.get("labels") or {}, Mapping):
        return f"({kind} {name}): labels must be an object"
    return None


def _is_ours(obj: Mapping[str, Any]) -> bool:
    labels = obj["metadata"].get("labels") or {}
    return labels.get(MANAGED_BY_LABEL) == MANAGED_BY
