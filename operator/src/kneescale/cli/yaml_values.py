"""Values of a YAML file that know their line, checked where they are read."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from reprlib import repr as short_repr

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.reader import ReaderError

from kneescale.cli.limits import Number, within
from kneescale.core.errors import InvalidInputError

_OF_YAML = "tag:yaml.org,2002:"
_TEXT = f"{_OF_YAML}str"
#: NUL, and halves of characters.
_NO_CHARACTER = re.compile(r"[\0\ud800-\udfff]")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")


class Loader(yaml.SafeLoader):
    """Reads YAML, and says of every value that it cannot make sense of where that is."""

    def compose_scalar_node(self, anchor: dict[str, yaml.Node]) -> yaml.ScalarNode:
        """A scalar as it is written; raises ComposerError.

        Escapes in quotes make what the reader itself refuses, and what is neither a path nor can be printed.
        """
        node = super().compose_scalar_node(anchor)
        if wrong := _NO_CHARACTER.search(node.value):
            raise ComposerError(None, None, f"a text holds U+{ord(wrong[0]):04X}", node.start_mark)
        return node

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
def yaml_loader(path: Path, file: StringIO) -> Iterator[Loader]:
    """The reader of a file; what it has to say is turned into one line with the file and the line."""
    try:
        loader = Loader(file)
        yield loader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidInputError(f"{path}:{line}: is not YAML: {error.problem}") from error
    except ReaderError as error:
        line = file.getvalue().count("\n", 0, error.position) + 1
        raise InvalidInputError(f"{path}:{line}: is not YAML: {str(error).splitlines()[0]}") from error
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
        # What the reader takes for a number, a date or a switch has another tag.
        if not isinstance(self.node, yaml.ScalarNode) or self.node.tag != _TEXT or not self.node.value:
            raise self.fault(f"must be a text, not {self._as_written()}")
        return str(self.node.value)

    def number(self, lowest: float, highest: float) -> float:
        """A number from `lowest` to `highest`."""
        return self._within(float, lowest, highest)

    def whole(self, lowest: int, highest: int) -> int:
        """A whole number from `lowest` to `highest`."""
        return self._within(int, lowest, highest)

    def _within(self, kind: Callable[[str], Number], lowest: float, highest: float) -> Number:
        """The number as it is written: YAML's own rules make 8 of 010, 90 of 1:30 and a text of 1e7."""
        is_number = self._is_plain() and not _LEADING_ZERO.match(self.node.value)
        try:
            return within(kind, self.node.value if is_number else "", lowest, highest)
        except ValueError as error:
            raise self.fault(f"{error}, not {self._as_written()}") from None

    def _is_plain(self) -> bool:
        """Whether it has neither quotes nor a tag of its own."""
        node = self.node
        return isinstance(node, yaml.ScalarNode) and node.style is None and node.tag.startswith(_OF_YAML)

    def _as_written(self) -> str:
        if isinstance(self.node, yaml.ScalarNode):
            tag = "" if self.node.tag.startswith(_OF_YAML) else f"{self.node.tag} "
            return f"{tag}{short_repr(self.node.value)}{' in quotes' if self.node.style else ''}"
        return "a list" if self.is_list else "a mapping"


def read_yaml(path: Path, file: StringIO) -> Value:
    """The one document of a file.

    Raises InvalidInputError, naming the file and the line, where it is no YAML or empty.
    """
    with yaml_loader(path, file) as loader:
        node = loader.get_single_node()
    if node is None:
        raise InvalidInputError(f"{path}: is empty")
    return Value(path, "", node)


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(keys)
