"""Reading: what two versions answered to the same prompts."""

from dataclasses import dataclass

from sqlalchemy import Engine

from db import answers, browse, prompts, versions
from db.answers import Pairs, Wanted
from labeling_ui.office import looking

PAIRS = 5  # prompts on a page: two answers to each are much to read


@dataclass(frozen=True, slots=True)
class Written:
    """The versions that have answers."""

    names: list[str]  # oldest first
    current: str | None  # if it is one of them


@dataclass(frozen=True, slots=True)
class Choices:
    """What there is to choose from."""

    categories: list[str]
    judges: list[str]  # that scored answers of both versions


def written(engine: Engine, person_id: int) -> Written:
    with looking(engine, person_id) as session:
        current = versions.current(session)
        names = [name for _, name, _ in browse.candidates_by_version(session)]
        return Written(names, current.name if current and current.name in names else None)


def choices(engine: Engine, person_id: int, a: str, b: str) -> Choices:
    with looking(engine, person_id) as session:
        a_id, b_id = (versions.by_name(session, name).id for name in (a, b))
        return Choices(prompts.categories(session), answers.judges(session, a_id, b_id))


def page(engine: Engine, person_id: int, a: str, b: str, wanted: Wanted, number: int) -> Pairs:
    """The page of that number, counted from 1, of the prompts that both answered."""
    with looking(engine, person_id) as session:
        a_id, b_id = (versions.by_name(session, name).id for name in (a, b))
        return answers.page(session, a_id, b_id, wanted, offset=(number - 1) * PAIRS, limit=PAIRS)
