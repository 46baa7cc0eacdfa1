"""What an annotator is shown of an assignment: nothing that tells who wrote a text or why it is asked."""

from dataclasses import dataclass
from datetime import datetime
from functools import cache

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session

from .columns import JsonObject, Message
from .tables import Assignment, Candidate, Comparison, Draft, Prompt, Queue
from .words import QueueKind


@dataclass(frozen=True, slots=True)
class AssignedTask:
    """What the annotator is shown. `texts` and `candidate_ids` are in the display order, left to right."""

    assignment_id: int
    comparison_id: int
    queue_id: int
    kind: QueueKind
    prompt_id: int
    messages: list[Message]
    texts: list[str]
    candidate_ids: list[int]
    aspects: list[str] | None  # to be rated one by one
    asks_strength: bool
    guidelines: str
    draft: JsonObject | None  # what they had typed and chosen before
    expires_at: datetime


def task_of(session: Session, assignment: Assignment) -> AssignedTask:
    """The task of an assignment, as it was shown and is shown again."""
    row = session.execute(_asked(), {"assignment_id": assignment.id, "comparison_id": assignment.comparison_id}).one()
    prompt_id, messages, queue, draft = row
    order = assignment.display_order
    shown = session.execute(_texts(), {"candidate_ids": order}) if order else ()
    texts = {candidate_id: text for candidate_id, text in shown}
    return AssignedTask(
        assignment_id=assignment.id,
        comparison_id=assignment.comparison_id,
        queue_id=queue.id,
        kind=queue.kind,
        prompt_id=prompt_id,
        messages=messages,
        texts=[texts[candidate_id] for candidate_id in order],
        candidate_ids=list(order),
        aspects=queue.aspects,
        asks_strength=queue.asks_strength,
        guidelines=queue.guidelines,
        draft=draft,
        expires_at=assignment.expires_at,
    )


# Built once: building a statement takes longer than running it.


@cache
def _asked() -> Select[int, list[Message], Queue, JsonObject]:
    return (
        select(Prompt.id, Prompt.messages, Queue, Draft.content)
        .select_from(Comparison)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(Queue, Queue.id == Comparison.queue_id)
        .outerjoin(Draft, Draft.assignment_id == bindparam("assignment_id"))
        .where(Comparison.id == bindparam("comparison_id"))
    )


@cache
def _texts() -> Select[int, str]:
    return select(Candidate.id, Candidate.text).where(Candidate.id.in_(bindparam("candidate_ids", expanding=True)))
