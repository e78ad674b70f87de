"""A runner that records commands, and answers them from a table instead of running them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.runner import CommandError

Answer = str | Callable[[Sequence[str]], str]


@dataclass
class RecordingRunner:
    """Answers a command with the first entry of `answers` whose words it contains, else with nothing.

    A command that contains the words of an entry of `failing` fails.
    """

    answers: Mapping[str, Answer] = field(default_factory=dict)
    failing: Sequence[str] = ()
    commands: list[str] = field(default_factory=list)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: Path | None = None,
        log: Path | None = None,
    ) -> str:
        command = " ".join([Path(argv[0]).name, *argv[1:]])
        self.commands.append(command)
        if any(words in command for words in self.failing):
            raise CommandError(argv, "exit status 1: refused")
        answer = next((answer for words, answer in self.answers.items() if words in command), "")
        return answer(argv) if callable(answer) else answer

    def ran(self, words: str) -> list[str]:
        """Return the commands that contain these words."""
        return [command for command in self.commands if words in command]
