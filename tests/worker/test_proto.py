"""The generated messages are what the .proto says, and what other implementations of the protocol say.

In processes of their own: tritonclient's messages and ours have the same names.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import kneescale_worker.proto

_FOLDER = Path(kneescale_worker.proto.__file__).parent
_SOURCES = _FOLDER.parent.parent

_DESCRIBE = """
import importlib, json, sys
messages = importlib.import_module(sys.argv[1]).DESCRIPTOR.message_types_by_name
def fields(message):
    nested = {name: fields(inner) for name, inner in message.nested_types_by_name.items()}
    own = {field.name: [field.number, field.type, field.is_repeated] for field in message.fields}
    return {**nested, **own}
print(json.dumps({name: fields(message) for name, message in messages.items()}))
"""


def _describe(module: str) -> dict[str, Any]:
    """Number, type and cardinality of every field of every message."""
    output = subprocess.check_output([sys.executable, "-c", _DESCRIBE, module])
    messages: dict[str, Any] = json.loads(output)
    return messages


def test_the_generated_modules_are_up_to_date(tmp_path: Path) -> None:
    source = _FOLDER / "open_inference.proto"
    options = ["-I", str(_SOURCES), f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options, str(source)], check=True)
    generated = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert [path.name for path in generated] == ["open_inference_pb2.py", "open_inference_pb2.pyi"]
    for path in generated:
        assert path.read_text() == (_FOLDER / path.name).read_text()


def test_the_messages_are_those_of_an_independent_implementation() -> None:
    ours = _describe("kneescale_worker.proto.open_inference_pb2")
    theirs = _describe("tritonclient.grpc.service_pb2")
    assert len(ours) == 14
    assert {name: theirs[name] for name in ours} == ours
