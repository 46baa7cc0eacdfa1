"""A conversation in the terminal: a line in, an answer out as it is drawn. Lines that begin with / are commands."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .errors import PrefloopError
from .generate import Sampling
from .language_model import Message
from .served_models import ServedModels
from .speak import speak

HELP = "/quit ends, /reset begins anew, /version says who answers, /version NAME lets another answer"


@dataclass
class Chat:
    models: ServedModels
    version: str  # a version's name, or `current`
    sampling: Sampling
    seed: int | None = None  # of every answer; None draws a new one for each
    turns: list[Message] = field(default_factory=list)

    def hear(self, line: str) -> Iterator[str]:
        """The answer to a line, in pieces; a blank line has none. Raises PrefloopError, and then nothing was said."""
        line = line.strip()
        if line.startswith("/"):
            yield self._obey(*line[1:].split(maxsplit=1))
        elif line:
            lm = self.models.choose(self.models.find(self.version))
            asked: list[Message] = [*self.turns, {"role": "user", "content": line}]
            answer = ""
            seed = secrets.randbits(31) if self.seed is None else self.seed
            for piece in speak(lm, asked, self.sampling, seed):
                answer += piece.text
                yield piece.text
            self.turns = [*asked, {"role": "assistant", "content": answer}]

    def _obey(self, command: str = "", name: str = "") -> str:
        match command:
            case "reset":
                self.turns = []
                return "begun anew"
            case "version":
                self.version = name or self.version
                return self.models.find(self.version).name
        raise PrefloopError(f"there is no command /{command}; {HELP}")


def converse(chat: Chat, ask: Callable[[], str], show: Callable[[str], None], complain: Callable[[str], None]) -> bool:
    """Until /quit or the end of the input; whether all went well. An interrupt stops an answer, not the conversation.

    `ask` gives the next line or raises EOFError; `show` writes text as it is.
    """
    fine = True
    while True:
        try:
            line = ask()
        except EOFError:
            return fine
        if line.strip() == "/quit":
            return fine
        try:
            said = False
            for text in chat.hear(line):
                said = True
                show(text)
            if said:
                show("\n")
        except KeyboardInterrupt:
            show("\n")
        except PrefloopError as error:
            fine = False
            complain(str(error))
