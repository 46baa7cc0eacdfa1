"""The places of a comparison: how many judgments are wanted, and how many of them are given or under way.

A comparison has `overlap` places *for each kind of annotator*: simulated annotators neither use up the places of
people nor wait for them. A place is taken by a judgment, be it a skip, or by a lease until it is marked as expired;
what a withdrawn annotator said takes none. Gold and repeated questions have no places: they are handed to one
annotator by name, and count for nothing here.

The rules that keep a place from being given away twice, and the columns `free_human` and `free_simulated` right:

- the assignments of a comparison change only under the lock of its row (`hold`), and its free places are then counted
  anew (`recount`) in the same transaction;
- whoever locks an annotator and a comparison locks the annotator first;
- whoever holds a comparison waits for no other one (but for `withdraw` and `evaluations`, which take several in the
  order of their ids).
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import cast

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    Table,
    Update,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from .tables import Annotator, Assignment, Comparison
from .upsert import lots
from .words import AnnotatorKind, Purpose

COUNTED: tuple[Purpose, ...] = ("train", "evaluate")  # the purposes whose comparisons have places
FREE: dict[AnnotatorKind, InstrumentedAttribute[int]] = {
    "human": Comparison.free_human,
    "simulated": Comparison.free_simulated,
}
_SWEPT_AT_ONCE = 50  # comparisons: nobody who asks for a task waits for the work of a whole day


def hold(session: Session, comparison_id: int) -> Comparison:
    """Lock the comparison until the end of the transaction; on SQLite a writer has the whole store already."""
    held = session.scalars(_held(), {"comparison_id": comparison_id}, execution_options={"populate_existing": True})
    return held.one()


def has_free(session: Session, comparison: Comparison, kind: AnnotatorKind) -> bool:
    """Whether the held comparison has a place for one more annotator of `kind`; what is counted are the assignments."""
    if comparison.purpose not in COUNTED:
        return False
    return comparison.overlap > session.scalars(_taken_of_one(kind), {"comparison_id": comparison.id}).one()


def is_theirs(
    session: Session, assignment: Assignment, comparison: Comparison, kind: AnnotatorKind, now: datetime
) -> bool:
    """Whether the assignment has its place, or can have it back; its comparison is held."""
    if assignment.state != "expired":
        return assignment.state == "open"
    _expire(session, [comparison.id], now)  # others may be gone as well
    return comparison.purpose not in COUNTED or has_free(session, comparison, kind)


def take(session: Session, assignment: Assignment) -> None:
    """Give the assignment its place: an open one has it, for others it must be free. Its comparison is held."""
    if assignment.state != "open":
        assignment.state = "open"
        session.add(assignment)
        recount(session, [assignment.comparison_id])
    session.flush()


def recount(session: Session, comparison_ids: Sequence[int]) -> None:
    """Set the free places of these comparisons, which are held; objects of the session do not learn of it."""
    session.flush()
    for lot in lots(comparison_ids):
        session.connection().execute(_recounting(), {"comparison_ids": lot})


def sweep(session: Session, now: datetime) -> Sequence[int]:
    """Mark leases that ran out as expired, and free their places; the ids of the comparisons, which are then held.

    A bounded number at a time. Comparisons that others hold at this moment are left to the next sweep.
    """
    held = session.scalars(_lapsing(), {"now": now}).all()
    if held:
        _expire(session, held, now)
    return held


def release_all_of(session: Session, annotator_id: int) -> None:
    """Count the free places anew wherever the annotator, who has just withdrawn, has an assignment."""
    session.flush()
    theirs = Comparison.id.in_(select(Assignment.comparison_id).where(Assignment.annotator_id == annotator_id))
    holding = select(Comparison.id).where(theirs).order_by(Comparison.id).with_for_update(key_share=True)
    recount(session, session.scalars(holding).all())


def is_offered(kind: AnnotatorKind) -> ColumnElement[bool]:
    """Not closed, and with a free place: in the very words of the partial indexes, for a parameter is not one."""
    return (FREE[kind] > literal_column("0")) & Comparison.closed_at.is_(None)


def is_lapsing() -> ColumnElement[bool]:
    """Whether any lease has run out by the moment `now`, and is not marked yet."""
    return exists().where(_is_open(), Assignment.expires_at <= bindparam("now"))


def leased(kind: AnnotatorKind) -> Select[int]:
    """How many places annotators of `kind` have a lease on; the query may be narrowed by their comparisons."""
    return (
        select(func.count())
        .select_from(Assignment)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .join(Annotator, Annotator.id == Assignment.annotator_id)
        .where(
            _is_open(),
            Annotator.kind == kind,
            Annotator.withdrawn_at.is_(None),
            Comparison.purpose.in_(COUNTED),
        )
    )


def _expire(session: Session, held: Sequence[int], now: datetime) -> None:
    """Mark the leases on these comparisons that ran out, and free their places."""
    marked = update(Assignment).where(Assignment.comparison_id.in_(held), _is_open(), Assignment.expires_at <= now)
    session.execute(marked.values(state="expired").execution_options(synchronize_session="fetch"))
    recount(session, held)


# The statements of every lease and every judgment are built once: building one takes longer than running it.


@cache
def _held() -> Select[Comparison]:
    return select(Comparison).where(Comparison.id == bindparam("comparison_id")).with_for_update(key_share=True)


@cache
def _lapsing() -> Select[int]:
    oldest = (
        select(Assignment.comparison_id)
        .where(_is_open(), Assignment.expires_at <= bindparam("now"))
        .order_by(Assignment.expires_at)
        .limit(literal_column(f"{_SWEPT_AT_ONCE}"))
    )
    return select(Comparison.id).where(Comparison.id.in_(oldest)).with_for_update(key_share=True, skip_locked=True)


@cache
def _recounting() -> Update:
    return (
        update(cast(Table, Comparison.__table__))
        .where(Comparison.id.in_(bindparam("comparison_ids", expanding=True)))
        .values(free_human=_free("human"), free_simulated=_free("simulated"))
    )


@cache
def _taken_of_one(kind: AnnotatorKind) -> Select[int]:
    return _taken(kind).where(Assignment.comparison_id == bindparam("comparison_id"))


def _free(kind: AnnotatorKind) -> ColumnElement[int]:
    """More places than the overlap can be taken: it may have been lowered since."""
    taken: ScalarSelect[int] = (
        _taken(kind).where(Assignment.comparison_id == Comparison.id).correlate(Comparison).scalar_subquery()
    )
    return case(
        (Comparison.purpose.not_in(COUNTED), 0), (Comparison.overlap > taken, Comparison.overlap - taken), else_=0
    )


def _taken(kind: AnnotatorKind) -> Select[int]:
    """How many places annotators of `kind` have."""
    return (
        select(func.count())
        .select_from(Assignment)
        .join(Annotator, Annotator.id == Assignment.annotator_id)
        .where(Assignment.state.in_(("open", "done")), Annotator.kind == kind, Annotator.withdrawn_at.is_(None))
    )


def _is_open() -> ColumnElement[bool]:
    """In the words of the partial index."""
    return Assignment.state == literal_column("'open'")
