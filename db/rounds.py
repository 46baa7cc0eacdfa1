"""Rounds: the turns of a loop."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from . import clock
from .columns import JsonObject
from .errors import StoreError
from .tables import Round
from .upsert import upsert


def ensure(session: Session, loop: str, number: int, parent_version_id: int, settings: JsonObject) -> Round:
    """The round of that loop and number, made if there is none; an existing one is returned unchanged."""
    statement = upsert(session, Round).on_conflict_do_nothing(index_elements=["loop", "number"])
    session.execute(statement.values(loop=loop, number=number, parent_version_id=parent_version_id, settings=settings))
    return session.scalars(select(Round).where(Round.loop == loop, Round.number == number)).one()


def finish(session: Session, round_id: int, summary: JsonObject) -> Round:
    """The round is over. Finishing it again replaces the summary and keeps the first moment."""
    row = session.get(Round, round_id)
    if row is None:
        raise StoreError(f"there is no round {round_id}; see the list of rounds")
    row.summary = summary
    row.finished_at = row.finished_at or clock.now()
    return row


def list_rounds(session: Session, loop: str) -> list[Round]:
    """The rounds of a loop, by number."""
    return list(session.scalars(select(Round).where(Round.loop == loop).order_by(Round.number)))
