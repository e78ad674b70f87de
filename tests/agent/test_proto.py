"""The generated messages are those of the .proto files beside them."""

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-untyped]

import kneescale.agent.proto

PROTO_DIR = Path(str(files(kneescale.agent.proto)))
SOURCE_ROOT = PROTO_DIR.parents[2]


def test_generated_code_is_up_to_date(tmp_path: Path) -> None:
    sources = sorted(str(path) for path in PROTO_DIR.glob("*.proto"))
    well_known = Path(str(files("grpc_tools"))) / "_proto"
    arguments = [
        sys.executable,
        f"-I{SOURCE_ROOT}",
        f"-I{well_known}",
        f"--python_out={tmp_path}",
        f"--pyi_out={tmp_path}",
    ]
    assert protoc.main([*arguments, *sources]) == 0
    generated = sorted(tmp_path.rglob("*_pb2.py*"))
    assert len(generated) == 2 * len(sources) > 0
    for path in generated:
        assert path.read_text() == (PROTO_DIR / path.name).read_text(), f"regenerate {path.name}"
