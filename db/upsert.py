"""INSERT … ON CONFLICT for both engines, which SQLAlchemy spells once a dialect, and ids in digestible lots."""

from collections.abc import Iterator, Sequence

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from .columns import Base

# Both engines bound the parameters of a statement; the lower bound is SQLite's 32,766.
_LOT = 10_000


def upsert(session: Session, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT into `table` that has `on_conflict_do_nothing` and `on_conflict_do_update`."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    return insert(table)


def lots(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """`ids` in lots that fit one IN clause."""
    for start in range(0, len(ids), _LOT):
        yield ids[start : start + _LOT]
