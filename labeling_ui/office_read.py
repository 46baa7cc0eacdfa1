"""Reading: what two versions answered to the same prompts."""

from dataclasses import dataclass

from sqlalchemy import Engine

from db import answers, browse, prompts, versions
from db.answers import Pairs, Wanted
from labeling_ui.office import looking

PAIRS = 5  # prompts on a page: two answers to each are much to read


@dataclass(frozen=True, slots=True)
class Choices:
    """What there is to choose from."""

    categories: list[str]
    judges: list[str]  # that scored answers of both versions


def written(engine: Engine, person_id: int) -> list[str]:
    """The names of the versions that have answers, oldest first."""
    with looking(engine, person_id) as session:
        return [name for _, name, _ in browse.candidates_by_version(session)]


def choices(engine: Engine, person_id: int, a: str, b: str) -> Choices:
    with looking(engine, person_id) as session:
        a_id, b_id = (versions.by_name(session, name).id for name in (a, b))
        return Choices(prompts.categories(session), answers.judges(session, a_id, b_id))


def page(engine: Engine, person_id: int, a: str, b: str, wanted: Wanted, number: int) -> Pairs:
    """The page of that number, counted from 1, of the prompts that both answered."""
    with looking(engine, person_id) as session:
        a_id, b_id = (versions.by_name(session, name).id for name in (a, b))
        return answers.page(session, a_id, b_id, wanted, offset=(number - 1) * PAIRS, limit=PAIRS)
