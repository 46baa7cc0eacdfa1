"""Judgments as training and statistics read them: each with all that they ask about it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session, aliased

from .columns import Message
from .said import Ranking
from .tables import Annotator, Assignment, Candidate, Comparison, ComparisonCandidate, Judgment, Prompt, Queue, Round
from .upsert import lots
from .words import AnnotatorKind, Choice, FinishReason, Purpose, QueueKind, Split


@dataclass(frozen=True, slots=True)
class JudgmentRow:
    """A judgment with all that training or statistics ask about it."""

    judgment_id: int
    comparison_id: int
    prompt_id: int
    prompt_sha256: str
    split: Split
    messages: list[Message]
    annotator_id: int
    annotator_name: str
    annotator_kind: AnnotatorKind
    queue_id: int
    queue_kind: QueueKind
    purpose: Purpose
    choice: Choice
    preferred_id: int | None
    ranking: Ranking | None
    strength: int | None
    ratings: dict[str, int] | None
    written: str | None
    reason: str | None
    response_ms: int | None
    created_at: datetime
    candidate_ids: list[int]  # by position in the comparison, not as displayed
    display_order: list[int]  # candidate ids, left to right
    texts: dict[int, str]  # by candidate id
    finish_reasons: dict[int, FinishReason]  # by candidate id
    round_number: int | None


def is_newest() -> ColumnElement[bool]:
    """The judgment is the newest of its chain."""
    newer = aliased(Judgment)
    return ~exists().where(newer.supersedes_id == Judgment.id)


def read(session: Session, conditions: Sequence[ColumnElement[bool]]) -> list[JudgmentRow]:
    """The judgments of which all the conditions are true, ordered by judgment id."""
    query = (
        select(Judgment, Assignment.display_order, Annotator, Comparison, Prompt, Queue.kind, Round.number)
        .join(Assignment, Assignment.id == Judgment.assignment_id)
        .join(Annotator, Annotator.id == Assignment.annotator_id)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .join(Queue, Queue.id == Comparison.queue_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .outerjoin(Round, Round.id == Comparison.round_id)
        .where(*conditions)
        .order_by(Judgment.id)
    )
    found = session.execute(query).all()
    candidates = _candidates_of(session, sorted({row.Comparison.id for row in found}))
    return [
        JudgmentRow(
            judgment_id=judgment.id,
            comparison_id=comparison.id,
            prompt_id=prompt.id,
            prompt_sha256=prompt.sha256,
            split=prompt.split,
            messages=prompt.messages,
            annotator_id=annotator.id,
            annotator_name=annotator.name,
            annotator_kind=annotator.kind,
            queue_id=comparison.queue_id,
            queue_kind=queue_kind,
            purpose=comparison.purpose,
            choice=judgment.choice,
            preferred_id=judgment.preferred_id,
            ranking=judgment.ranking,
            strength=judgment.strength,
            ratings=judgment.ratings,
            written=judgment.written,
            reason=judgment.reason,
            response_ms=judgment.response_ms,
            created_at=judgment.created_at,
            candidate_ids=[candidate_id for candidate_id, _, _ in candidates[comparison.id]],
            display_order=display_order,
            texts={candidate_id: text for candidate_id, text, _ in candidates[comparison.id]},
            finish_reasons={candidate_id: reason for candidate_id, _, reason in candidates[comparison.id]},
            round_number=round_number,
        )
        for judgment, display_order, annotator, comparison, prompt, queue_kind, round_number in found
    ]


def _candidates_of(session: Session, comparison_ids: Sequence[int]) -> dict[int, list[tuple[int, str, FinishReason]]]:
    """(id, text, finish reason) of every candidate by position, by comparison id."""
    query = (
        select(ComparisonCandidate.comparison_id, Candidate.id, Candidate.text, Candidate.finish_reason)
        .join(Candidate, Candidate.id == ComparisonCandidate.candidate_id)
        .order_by(ComparisonCandidate.comparison_id, ComparisonCandidate.position)
    )
    found: dict[int, list[tuple[int, str, FinishReason]]] = defaultdict(list)
    for lot in lots(comparison_ids):
        in_lot = session.execute(query.where(ComparisonCandidate.comparison_id.in_(lot)))
        for comparison_id, candidate_id, text, reason in in_lot:
            found[comparison_id].append((candidate_id, text, reason))
    return found
