"""Judgments to look through: filtered, paged, newest first, each as one line.

A line is the newest of a chain of corrections. What a withdrawn annotator said is not listed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVarTuple

from sqlalchemy import ColumnElement, Select, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from . import prompts
from .columns import Message
from .tables import (
    Annotator,
    Assignment,
    Candidate,
    Comparison,
    ComparisonCandidate,
    Judgment,
    Prompt,
    Queue,
    Round,
    Version,
)
from .upsert import lots
from .words import AnnotatorKind, Choice, Purpose, QueueKind

Row = TypeVarTuple("Row")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which judgments; None and the empty text leave a thing open."""

    queue_id: int | None = None
    annotator_id: int | None = None
    annotator_kind: AnnotatorKind | None = None
    choice: Choice | None = None
    purpose: Purpose | None = None
    round_id: int | None = None
    text: str = ""  # in the prompt, an answer, or what the annotator wrote


@dataclass(frozen=True, slots=True)
class Line:
    judgment_id: int
    created_at: datetime
    queue: str
    queue_kind: QueueKind
    purpose: Purpose
    annotator: str
    annotator_kind: AnnotatorKind
    choice: Choice
    reason: str | None
    rationale: str
    is_correction: bool
    messages: list[Message]


@dataclass(frozen=True, slots=True)
class Lines:
    """A page of the `total` that fit."""

    rows: list[Line]
    total: int


def page(session: Session, wanted: Wanted, offset: int = 0, limit: int = 50) -> Lines:
    """The lines from `offset` on, newest first."""
    query = (
        _narrowed(select(Judgment, Annotator, Comparison.purpose, Queue, Prompt.messages), wanted)
        .join(Queue, Queue.id == Comparison.queue_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
    )
    rows = [
        Line(
            judgment_id=judgment.id,
            created_at=judgment.created_at,
            queue=queue.name,
            queue_kind=queue.kind,
            purpose=purpose,
            annotator=annotator.name,
            annotator_kind=annotator.kind,
            choice=judgment.choice,
            reason=judgment.reason,
            rationale=judgment.rationale,
            is_correction=judgment.supersedes_id is not None,
            messages=messages,
        )
        for judgment, annotator, purpose, queue, messages in session.execute(
            query.order_by(Judgment.id.desc()).offset(offset).limit(limit)
        )
    ]
    return Lines(rows, session.scalars(_narrowed(select(func.count()), wanted)).one())


def ids(session: Session, wanted: Wanted) -> list[int]:
    """The ids of all of them, oldest first."""
    return list(session.scalars(_narrowed(select(Judgment.id), wanted).order_by(Judgment.id)))


def rounds(session: Session) -> list[Round]:
    """Every round of every loop, the newest first."""
    return list(session.scalars(select(Round).order_by(Round.id.desc())))


def candidates_by_version(session: Session) -> list[tuple[int, str, int]]:
    """(id, name, how many candidates) of every version that has written any, oldest first."""
    query = (
        select(Version.id, Version.name, func.count())
        .join(Candidate, Candidate.version_id == Version.id)
        .group_by(Version.id, Version.name)
        .order_by(Version.id)
    )
    return list(session.execute(query).tuples())


def written_by(session: Session, candidate_ids: Sequence[int]) -> dict[int, str]:
    """The names of the versions that wrote these candidates, by candidate id."""
    query = select(Candidate.id, Version.name).join(Version, Version.id == Candidate.version_id)
    return {
        candidate_id: name
        for lot in lots(candidate_ids)
        for candidate_id, name in session.execute(query.where(Candidate.id.in_(lot)))
    }


def _narrowed(query: Select[*Row], wanted: Wanted) -> Select[*Row]:
    newer = aliased(Judgment)
    conditions: list[ColumnElement[bool]] = [
        ~exists().where(newer.supersedes_id == Judgment.id),
        Annotator.withdrawn_at.is_(None),
    ]
    for column, value in (
        (Comparison.queue_id, wanted.queue_id),
        (Assignment.annotator_id, wanted.annotator_id),
        (Annotator.kind, wanted.annotator_kind),
        (Judgment.choice, wanted.choice),
        (Comparison.purpose, wanted.purpose),
        (Comparison.round_id, wanted.round_id),
    ):
        if value is not None:
            conditions.append(column == value)
    if wanted.text.strip():
        conditions.append(_says(wanted.text.strip()))
    return (
        query.select_from(Judgment)
        .join(Assignment, Assignment.id == Judgment.assignment_id)
        .join(Annotator, Annotator.id == Assignment.annotator_id)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .where(*conditions)
    )


def _says(text: str) -> ColumnElement[bool]:
    answered = (
        exists()
        .where(
            ComparisonCandidate.comparison_id == Comparison.id,
            Candidate.id == ComparisonCandidate.candidate_id,
            Candidate.text.icontains(text, autoescape=True),
        )
        .correlate(Comparison)
    )
    asked = exists().where(Prompt.id == Comparison.prompt_id, prompts.mentions(text)).correlate(Comparison)
    own = [
        column.icontains(text, autoescape=True) for column in (Judgment.rationale, Judgment.written, Judgment.reason)
    ]
    return or_(asked, answered, *own)
