"""The overlay that the demo applies."""

from pathlib import Path

import yaml

from e2e.demo.system import write_overlay
from harness.checkout import ROOT


def test_the_overlay_stands_on_the_backends_own_and_sets_images_and_policy(tmp_path: Path) -> None:
    folder = tmp_path / "overlay"
    write_overlay(folder, "emulated", {"kneescale/worker": "localhost:5000/w:abc"}, "Temporal")
    overlay = yaml.safe_load((folder / "kustomization.yaml").read_text())
    (base,) = overlay["resources"]
    assert not Path(base).is_absolute()  # kustomize refuses absolute paths
    assert (folder / base).resolve() == ROOT / "manifests" / "overlays" / "local-emulated"
    assert overlay["images"] == [{"name": "kneescale/worker", "newName": "localhost:5000/w", "newTag": "abc"}]
    patch = yaml.safe_load(overlay["patches"][0]["patch"])
    (container,) = patch["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "KNEESCALE_SCHEDULING", "value": "Temporal"}]
