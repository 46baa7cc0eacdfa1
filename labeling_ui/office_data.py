"""Data: judgments to look through, one of them with its lineage, and the same as a file."""

from dataclasses import dataclass

from sqlalchemy import Engine

from db import annotators, browse, comparisons, export, lineage, queues
from db.browse import Lines, Wanted
from db.export import Format
from db.lineage import Lineage
from labeling_ui.office import PAGE, acting, looking


@dataclass(frozen=True, slots=True)
class Choices:
    """What there is to filter by: ids and names."""

    queues: dict[int, str]
    annotators: dict[int, str]
    rounds: dict[int, str]


def choices(engine: Engine, person_id: int) -> Choices:
    with looking(engine, person_id) as session:
        return Choices(
            queues={queue.id: queue.name for queue in queues.list_queues(session)},
            annotators={
                each.id: each.name for each in annotators.list_annotators(session) if each.withdrawn_at is None
            },
            rounds={each.id: f"{each.loop} {each.number}" for each in browse.rounds(session)},
        )


def page(engine: Engine, person_id: int, wanted: Wanted, number: int) -> Lines:
    """The page of that number, counted from 1."""
    with looking(engine, person_id) as session:
        return browse.page(session, wanted, offset=(number - 1) * PAGE, limit=PAGE)


def details(engine: Engine, person_id: int, judgment_id: int) -> Lineage:
    with looking(engine, person_id) as session:
        return lineage.of_judgment(session, judgment_id)


def make_gold(engine: Engine, person_id: int, comparison_id: int, candidate_id: int) -> str:
    with acting(engine, person_id) as (session, actor):
        made = comparisons.make_gold(session, comparison_id, candidate_id, actor)
        queue = queues.get(session, comparisons.get(session, made.id).queue_id)
    if not made.created:
        return f"This is a gold question of queue {queue.name} already."
    asked = f"{queue.gold_share:.0%} of its tasks are gold" if queue.gold_share else "its share of gold is 0: set it"
    return f"A gold question of queue {queue.name} now; {asked}."


def file(engine: Engine, person_id: int, wanted: Wanted, format: Format, pseudonyms: bool) -> bytes:
    """All that is wanted, as a file in UTF-8."""
    with looking(engine, person_id) as session:
        return "".join(export.lines(session, browse.ids(session, wanted), format, pseudonyms)).encode()
