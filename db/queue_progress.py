"""How far people are with each queue."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, case, exists, func, literal_column, select
from sqlalchemy.orm import Session, aliased

from . import comparison_rows, places
from .tables import Annotator, Assignment, Comparison, Judgment, Queue
from .words import Choice, QueueKind


@dataclass(frozen=True, slots=True)
class QueueProgress:
    """Of one queue: people's judgments on train and evaluate comparisons. Gold and repeats are left out."""

    queue_id: int
    name: str
    kind: QueueKind
    paused: bool
    comparisons: int
    wanted: int  # judgments: those given or under way, and those that are still asked for
    judged: int  # given, skips and flags included
    leased: int  # under way
    skipped: int
    flagged: int


def progress(session: Session) -> list[QueueProgress]:
    """Every queue, by priority, then by name."""
    counted = {row.queue_id: row for row in session.execute(_places())}
    leased = {queue_id: count for queue_id, count in session.execute(_leased())}
    retired = {queue_id: count for queue_id, count in session.execute(_retired())}
    unanswered = {(queue_id, choice): count for queue_id, choice, count in session.execute(_unanswered())}
    rows = []
    for queue in session.scalars(select(Queue).order_by(Queue.priority.desc(), Queue.name)):
        of_queue = counted.get(queue.id)
        comparisons, taken, free = (of_queue.comparisons, of_queue.taken, of_queue.free) if of_queue else (0, 0, 0)
        under_way = leased.get(queue.id, 0)
        rows.append(
            QueueProgress(
                queue_id=queue.id,
                name=queue.name,
                kind=queue.kind,
                paused=queue.paused_at is not None,
                comparisons=comparisons,
                wanted=taken + free - retired.get(queue.id, 0),
                judged=taken - under_way,
                leased=under_way,
                skipped=unanswered.get((queue.id, "skip"), 0),
                flagged=unanswered.get((queue.id, "flag"), 0),
            )
        )
    return rows


def _places() -> Select[int, int, int, Any]:
    """By queue: its comparisons, their places that are taken, and those of the ones not closed that are free."""
    free = case((Comparison.closed_at.is_(None), Comparison.free_human), else_=0)
    return (
        select(
            Comparison.queue_id,
            func.count().label("comparisons"),
            func.sum(Comparison.overlap - Comparison.free_human).label("taken"),
            func.sum(free).label("free"),
        )
        .where(Comparison.purpose.in_(places.COUNTED))
        .group_by(Comparison.queue_id)
    )


def _retired() -> Select[int, int]:
    """By queue: free places of comparisons whose prompt is retired, and which nobody is asked therefore."""
    return (
        select(Comparison.queue_id, func.sum(Comparison.free_human))
        .where(comparison_rows.is_retired(), Comparison.closed_at.is_(None))
        .group_by(Comparison.queue_id)
    )


def _leased() -> Select[int, int]:
    return places.leased("human").with_only_columns(Comparison.queue_id, func.count()).group_by(Comparison.queue_id)


def _unanswered() -> Select[int, Choice, int]:
    """By queue and choice: the skips and flags that count today."""
    newer = aliased(Judgment)
    return (
        select(Comparison.queue_id, Judgment.choice, func.count())
        .select_from(Judgment)
        .join(Assignment, Assignment.id == Judgment.assignment_id)
        .join(Annotator, Annotator.id == Assignment.annotator_id)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .where(
            Judgment.choice.in_((literal_column("'skip'"), literal_column("'flag'"))),
            ~exists().where(newer.supersedes_id == Judgment.id),
            Annotator.kind == "human",
            Annotator.withdrawn_at.is_(None),
            Comparison.purpose.in_(places.COUNTED),
        )
        .group_by(Comparison.queue_id, Judgment.choice)
    )
