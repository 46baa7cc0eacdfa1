"""The playground: two versions answer a prompt, and what a person says about it becomes evidence."""

import random
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sqlalchemy import Engine

from db import playground
from db.columns import Message
from db.errors import StoreError
from db.judgments import Said
from db.playground import Answer
from db.words import Choice
from labeling_ui import model_server
from labeling_ui.office import acting, looking


@dataclass(frozen=True, slots=True)
class Trial:
    """Two answers to a prompt, left and right; whose they are is told when it is decided."""

    messages: list[Message]
    left: Answer
    right: Answer


def names(engine: Engine, person_id: int) -> list[str]:
    """The versions that can be asked, newest first."""
    with looking(engine, person_id):  # others learn nothing of the server either
        pass
    return model_server.names()


def ask(engine: Engine, person_id: int, versions: tuple[str, str], text: str, temperature: float, most: int) -> Trial:
    """Both versions' answers, with one seed, side by side at random. Nothing is stored yet."""
    with looking(engine, person_id):
        pass
    if not text.strip():
        raise StoreError("the prompt is blank; type one")
    if versions[0] == versions[1]:
        raise StoreError(f"{versions[0]} against itself is no comparison; choose two versions")
    messages: list[Message] = [{"role": "user", "content": text.strip()}]
    seed = secrets.randbits(31)
    with ThreadPoolExecutor(2) as both:
        answers = list(both.map(lambda name: model_server.answer(name, messages, temperature, most, seed), versions))
    random.SystemRandom().shuffle(answers)
    return Trial(messages, *answers)


def decide(engine: Engine, person_id: int, trial: Trial, choice: Choice, response_ms: int) -> str:
    """Store prompt, answers and judgment, and say whose answers they were."""
    with acting(engine, person_id) as (session, _):
        said = Said(choice, response_ms=response_ms)
        playground.record(session, person_id, trial.messages, [trial.left, trial.right], said)
    return f"Saved as evidence. Left was {trial.left.version}, right was {trial.right.version}."
