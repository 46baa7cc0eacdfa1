"""The places of a comparison: how many judgments are wanted, and how many of them are given or under way.

A comparison has `overlap` places *for each kind of annotator*: simulated annotators neither use up the places of
people nor wait for them. A place is taken by a judgment, be it a skip, or by an open lease that has not run out; what
a withdrawn annotator said takes none. Two rules keep a place from being given away twice:

- the assignments of a comparison change only under the lock of its row (`hold`), and places are counted under it;
- whoever locks an annotator and a comparison locks the annotator first.
"""

from datetime import datetime

from sqlalchemy import ColumnElement, ScalarSelect, Subquery, and_, func, or_, select
from sqlalchemy.orm import Session

from .tables import Annotator, Assignment, Comparison
from .words import AnnotatorKind


def hold(session: Session, comparison_id: int) -> Comparison:
    """Lock the comparison until the end of the transaction; on SQLite a writer has the whole store already."""
    return session.get_one(Comparison, comparison_id, with_for_update={"key_share": True}, populate_existing=True)


def is_owed(session: Session, comparison: Comparison, annotator: Annotator, now: datetime) -> bool:
    """Whether the held comparison has a place for the annotator, not counting the one they may have."""
    owing = Comparison.overlap > taken(annotator.kind, now, besides=annotator.id)
    return session.scalar(select(Comparison.id).where(Comparison.id == comparison.id, owing)) is not None


def taken(kind: AnnotatorKind, now: datetime, besides: int | None = None) -> ScalarSelect[int]:
    """How many places of the enclosing query's comparison are taken by annotators of `kind`, besides one of them."""
    others = () if besides is None else (Assignment.annotator_id != besides,)
    return _count(kind, _occupied(now), *others)


def judged(kind: AnnotatorKind) -> ScalarSelect[int]:
    """How many places of the enclosing query's comparison have a judgment from an annotator of `kind`."""
    return _count(kind, Assignment.state == "done")


def tally(kind: AnnotatorKind, now: datetime) -> Subquery:
    """(comparison_id, taken) of every comparison with a place taken: `taken` of all at once, for a search over all."""
    return (
        select(Assignment.comparison_id, func.count().label("taken"))
        .where(_counts_for(kind), _occupied(now))
        .group_by(Assignment.comparison_id)
        .subquery()
    )


def _count(kind: AnnotatorKind, *conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    return (
        select(func.count())
        .select_from(Assignment)
        .where(Assignment.comparison_id == Comparison.id, _counts_for(kind), *conditions)
        .correlate(Comparison)
        .scalar_subquery()
    )


def _occupied(now: datetime) -> ColumnElement[bool]:
    return or_(Assignment.state == "done", and_(Assignment.state == "open", Assignment.expires_at > now))


def _counts_for(kind: AnnotatorKind) -> ColumnElement[bool]:
    crew = select(Annotator.id).where(Annotator.kind == kind, Annotator.withdrawn_at.is_(None))
    return Assignment.annotator_id.in_(crew)
