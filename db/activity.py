"""What annotators did and when: judgments over time, by annotator, and the work that was asked for over time.

Counted are first judgments that nobody has withdrawn: a correction is no second one.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Integer, Select, cast, extract, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from .places import COUNTED
from .tables import Annotator, Assignment, Comparison, Judgment, Prompt, Queue
from .words import AnnotatorKind, AnnotatorRole

Counted = TypeVar("Counted", bound=Select[*tuple[Any, ...]])


@dataclass(frozen=True, slots=True)
class AnnotatorActivity:
    """An annotator and what they did so far."""

    annotator_id: int
    name: str
    kind: AnnotatorKind
    role: AnnotatorRole
    disabled_at: datetime | None
    withdrawn_at: datetime | None
    judgments: int
    skipped: int  # of the judgments, skipped or flagged
    median_response_ms: float | None  # where it was measured
    last_seen: datetime | None  # when they were last handed a question


@dataclass(frozen=True, slots=True)
class Slot:
    """A stretch of time in which something was judged."""

    start: datetime
    judgments: int


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast pairs are answered."""

    median_response_ms: float | None  # where it was measured; None where it never was
    measured: int  # answers
    active: int  # annotators, neither disabled nor withdrawn, who answered anything since the moment asked about


@dataclass(frozen=True, slots=True)
class Change:
    """What changed in a stretch of time of what is owed: `asked` became owed, `judged` was given."""

    start: datetime
    asked: int
    judged: int


def by_annotator(session: Session) -> list[AnnotatorActivity]:
    """Every annotator, people first, then by name. Withdrawn ones are listed too, with what they had said."""
    counted = (
        select(
            Assignment.annotator_id,
            func.count(Judgment.id).label("judgments"),
            func.sum(cast(Judgment.choice.in_(("skip", "flag")), Integer)).label("skipped"),
        )
        .join(Judgment, Judgment.assignment_id == Assignment.id)
        .where(Judgment.supersedes_id.is_(None))
        .group_by(Assignment.annotator_id)
        .subquery()
    )
    seen = (
        select(Assignment.annotator_id, func.max(Assignment.leased_at).label("at"))
        .group_by(Assignment.annotator_id)
        .subquery()
    )
    median = _median_response_ms().subquery()
    query = (
        select(Annotator, counted.c.judgments, counted.c.skipped, median.c.median, seen.c.at)
        .outerjoin(counted, counted.c.annotator_id == Annotator.id)
        .outerjoin(median, median.c.annotator_id == Annotator.id)
        .outerjoin(seen, seen.c.annotator_id == Annotator.id)
        .order_by(Annotator.kind, Annotator.name)
    )
    return [
        AnnotatorActivity(
            annotator_id=annotator.id,
            name=annotator.name,
            kind=annotator.kind,
            role=annotator.role,
            disabled_at=annotator.disabled_at,
            withdrawn_at=annotator.withdrawn_at,
            judgments=judgments or 0,
            skipped=skipped or 0,
            median_response_ms=None if middle is None else float(middle),
            last_seen=last_seen,
        )
        for annotator, judgments, skipped, middle, last_seen in session.execute(query)
    ]


def by_slot(session: Session, kind: AnnotatorKind, minutes: int = 60, since: datetime | None = None) -> list[Slot]:
    """The stretches of so many minutes in which annotators of `kind` judged anything, oldest first."""
    number = _number(Judgment.created_at, minutes)
    query = _first_judgments(select(number, func.count()), kind).group_by(number).order_by(number)
    if since is not None:
        query = query.where(Judgment.created_at >= since)
    return [Slot(_start(slot, minutes), count) for slot, count in session.execute(query)]


def speed(session: Session, since: datetime, kind: AnnotatorKind = "human") -> Speed:
    """How fast annotators of `kind` answer pairs, skips and flags left out, and how many were active `since` then."""
    answered = (
        _first_judgments(select(Judgment.response_ms), kind)
        .join(Queue, Queue.id == Comparison.queue_id)
        .where(Queue.kind == "pair", Judgment.choice.not_in(("skip", "flag")), Judgment.response_ms.is_not(None))
    )
    count = session.scalars(select(func.count()).select_from(answered.subquery())).one()
    middle = answered.order_by(Judgment.response_ms).offset(max(0, count - 1) // 2).limit(2 - count % 2).subquery()
    median = session.scalar(select(func.avg(middle.c.response_ms)))
    active = _first_judgments(select(func.count(Assignment.annotator_id.distinct())), kind).where(
        Judgment.created_at >= since, Annotator.disabled_at.is_(None)
    )
    return Speed(None if median is None else float(median), count, session.scalars(active).one())


def debt_by_slot(
    session: Session, kind: AnnotatorKind = "human", minutes: int = 60, queue_id: int | None = None
) -> list[Change]:
    """How what is owed today came about, oldest first: summed up it is what annotators of `kind` still owe.

    It is about comparisons that are asked today: not closed, of a prompt in use, and of a purpose that has places.
    """
    retired = select(Prompt.id).where(Prompt.retired_at.is_not(None))
    asked_today: list[ColumnElement[bool]] = [
        Comparison.closed_at.is_(None),
        Comparison.prompt_id.not_in(retired),
        Comparison.purpose.in_(COUNTED),
    ]
    if queue_id is not None:
        asked_today.append(Comparison.queue_id == queue_id)
    made, given = _number(Comparison.created_at, minutes), _number(Judgment.created_at, minutes)
    asked_by = select(made, func.sum(Comparison.overlap)).where(*asked_today).group_by(made)
    judged_by = _first_judgments(select(given, func.count()), kind).where(*asked_today).group_by(given)
    asked, judged = ({slot: count for slot, count in session.execute(query)} for query in (asked_by, judged_by))
    return [
        Change(_start(slot, minutes), asked.get(slot, 0), judged.get(slot, 0)) for slot in sorted(asked.keys() | judged)
    ]


def _first_judgments(query: Counted, kind: AnnotatorKind) -> Counted:
    return (
        query.select_from(Judgment)
        .join(Assignment, Assignment.id == Judgment.assignment_id)
        .join(Annotator, Annotator.id == Assignment.annotator_id)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .where(Judgment.supersedes_id.is_(None), Annotator.kind == kind, Annotator.withdrawn_at.is_(None))
    )


def _median_response_ms() -> Select[int, float]:
    """(annotator_id, median) of first judgments whose time was measured: SQLite has no percentile_cont."""
    by_speed = (
        select(
            Assignment.annotator_id,
            Judgment.response_ms,
            func.row_number().over(partition_by=Assignment.annotator_id, order_by=Judgment.response_ms).label("place"),
            func.count().over(partition_by=Assignment.annotator_id).label("of"),
        )
        .join(Judgment, Judgment.assignment_id == Assignment.id)
        .where(Judgment.supersedes_id.is_(None), Judgment.response_ms.is_not(None))
        .subquery()
    )
    in_the_middle = (2 * by_speed.c.place).between(by_speed.c.of, by_speed.c.of + 2)
    return (
        select(by_speed.c.annotator_id, func.avg(by_speed.c.response_ms).label("median"))
        .where(in_the_middle)
        .group_by(by_speed.c.annotator_id)
    )


def _number(moment: InstrumentedAttribute[datetime], minutes: int) -> ColumnElement[int]:
    """The number of the stretch of so many minutes, counted from 1970."""
    return cast(extract("epoch", moment), Integer) // (60 * minutes)


def _start(number: int, minutes: int) -> datetime:
    return datetime.fromtimestamp(number * minutes * 60, UTC)
