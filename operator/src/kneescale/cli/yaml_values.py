"""Values of a YAML file that know their line, checked where they are read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import yaml
from yaml.constructor import ConstructorError

from kneescale.core.errors import InvalidInputError


class Loader(yaml.SafeLoader):
    """Reads YAML, and says of every value that it cannot make sense of where that is."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        """The value of a node; raises ConstructorError."""
        try:
            value: object = super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, OverflowError) as error:
            # What the reader itself forgets to catch: !!int abc, !!bool maybe, !!timestamp x, 2026-13-45.
            problem = f"cannot be read as {node.tag.rpartition(':')[2]}"
            raise ConstructorError(None, None, problem, node.start_mark) from error
        return value


@contextmanager
def yaml_faults(path: Path, loader: Loader) -> Iterator[None]:
    """Turn what the YAML reader has to say into one line with the file and the line."""
    try:
        yield
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidInputError(f"{path}:{line}: is not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise InvalidInputError(f"{path}:1: is not YAML: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise InvalidInputError(f"{path}:{loader.line + 1}: is nested too deeply") from error


@dataclass(frozen=True, slots=True)
class Value:
    """One value, by its place in the file and its name there, such as `models[0].rate`."""

    path: Path
    name: str
    node: yaml.Node

    def fault(self, what: object) -> InvalidInputError:
        """The error that says `what` is wrong with this value."""
        named = f"{self.name} " if self.name else ""
        return InvalidInputError(f"{self.path}:{self.node.start_mark.line + 1}: {named}{what}")

    @property
    def is_list(self) -> bool:
        """Whether `items` can be asked for."""
        return isinstance(self.node, yaml.SequenceNode)

    @property
    def is_mapping(self) -> bool:
        """Whether `fields` can be asked for."""
        return isinstance(self.node, yaml.MappingNode)

    def fields(self, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, "Value"]:
        """The values of a mapping that has all of `required` and nothing beyond `optional`."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.fault(f"must be a mapping with {_listed(required)}")
        fields: dict[str, Value] = {}
        for key_node, node in self.node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else ""
            name = f"{self.name}.{key}" if self.name else key
            if key not in (*required, *optional):
                known = _listed([*required, *optional])
                raise Value(self.path, name, key_node).fault(f"is not known; known are {known}")
            if key in fields:
                raise Value(self.path, name, key_node).fault("is given twice")
            fields[key] = Value(self.path, name, node)
        missing = [key for key in required if key not in fields]
        if missing:
            raise self.fault(f"has no {missing[0]}")
        return fields

    def items(self) -> list["Value"]:
        """The values of a list that is not empty."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.fault("must be a list")
        if not self.node.value:
            raise self.fault("must not be empty")
        return [Value(self.path, f"{self.name}[{index}]", node) for index, node in enumerate(self.node.value)]

    def text(self) -> str:
        """A text that is not empty."""
        value = self._scalar()
        if not isinstance(value, str) or not value:
            raise self.fault(f"must be a text, not {self._as_written()}")
        return value

    def positive(self) -> float:
        """A number above 0."""
        value = self._scalar()
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise self.fault(f"must be a number above 0, not {self._as_written()}")
        return float(value)

    def count(self) -> int:
        """A whole number of at least 1."""
        value = self._scalar()
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.fault(f"must be a whole number of at least 1, not {self._as_written()}")
        return value

    def _scalar(self) -> object:
        if not isinstance(self.node, yaml.ScalarNode):
            return None
        # The loader's own rules for what is a number; only its state is of the document.
        constructed: object = yaml.SafeLoader("").construct_object(self.node)
        return constructed

    def _as_written(self) -> str:
        if isinstance(self.node, yaml.ScalarNode):
            return repr(self.node.value)
        return "a list" if self.is_list else "a mapping"


def read_yaml(path: Path, file: TextIO) -> Value:
    """The one document of a file.

    Raises InvalidInputError, naming the file and the line, where it is no YAML or empty.
    """
    loader = Loader(file)
    with yaml_faults(path, loader):
        node = loader.get_single_node()
    if node is None:
        raise InvalidInputError(f"{path}: is empty")
    return Value(path, "", node)


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(keys)
