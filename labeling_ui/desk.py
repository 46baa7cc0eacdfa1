"""The desk between the label page and the store: hands out tasks and takes what is said, a transaction for each.

A task says nothing about who wrote a text or why it is asked: labeling is blind.
"""

from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import Engine

from db import comparisons, drafts, judgments, labeling_sessions, queues
from db.comparisons import AssignedTask
from db.engine import reading, writing
from db.judgments import LastJudgment, Said
from db.labeling_sessions import SessionSummary
from db.tables import LabelingSession, Queue
from labeling_ui.messages import Answer, Draft, Start

# What became of an answer: it is new; it was there already; or another one was, given in another window, and stands.
Taken = Literal["stored", "repeated", "refused"]


@dataclass(frozen=True, slots=True)
class Offer:
    """A queue that can be chosen."""

    queue: Queue
    left: int  # judgments that people still owe it


def offers(engine: Engine) -> list[Offer]:
    """The queues that are not paused, in the order in which they are asked."""
    with reading(engine) as session:
        left = {row.queue_id: row.wanted - row.judged for row in queues.progress(session)}
        return [Offer(queue, left[queue.id]) for queue in queues.list_queues(session) if queue.paused_at is None]


def sit_down(engine: Engine, annotator_id: int, chosen: Start) -> LabelingSession:
    with writing(engine) as session:
        return labeling_sessions.start(session, annotator_id, chosen.goal_kind, chosen.goal, chosen.queue_id)


def sitting(engine: Engine, annotator_id: int) -> LabelingSession | None:
    """The session that the annotator is in."""
    with reading(engine) as session:
        return labeling_sessions.current(session, annotator_id)


def stand_up(engine: Engine, annotator_id: int) -> SessionSummary | None:
    """End the annotator's session; None when they are in none."""
    with writing(engine) as session:
        current = labeling_sessions.current(session, annotator_id)
        if current is None:
            return None
        labeling_sessions.end(session, current.id, annotator_id)
        return labeling_sessions.summary(session, current.id)


def figures(engine: Engine, session_id: int) -> SessionSummary:
    """What the session came to so far."""
    with reading(engine) as session:
        return labeling_sessions.summary(session, session_id)


def next_task(engine: Engine, annotator_id: int, queue_id: int | None) -> AssignedTask | None:
    """The annotator's unfinished task, as they saw it before, or their next one; its lease begins anew.

    None when nothing is owed by them. StoreError when they may not label.
    """
    with writing(engine, durable=False) as session:
        return comparisons.next_assignment(session, annotator_id, queue_id=queue_id)


def name_of(engine: Engine, queue_id: int) -> str:
    with reading(engine) as session:
        return queues.get(session, queue_id).name


def owed(engine: Engine, queue_id: int | None) -> int:
    """How many judgments people still owe the queue, or all queues, all of them together."""
    with reading(engine) as session:
        return comparisons.open_count(session, queue_id=queue_id)


def last_answer(engine: Engine, annotator_id: int) -> LastJudgment | None:
    """The annotator's newest judgment, with its task as they saw it."""
    with reading(engine) as session:
        return judgments.last_of(session, annotator_id)


def take(engine: Engine, annotator_id: int, answer: Answer) -> Taken:
    """Store what the annotator said. StoreError when it cannot be taken any more."""
    with writing(engine) as session:
        assignment, _ = comparisons.own_assignment(session, answer.assignment_id, annotator_id)
        said = _said(answer, assignment.display_order)
        if answer.replaces is not None:
            return "stored" if judgments.correct(session, answer.replaces, annotator_id, said).stored else "repeated"
        if judgments.submit(session, answer.assignment_id, annotator_id, said).stored:
            return "stored"
        last = judgments.last_of(session, annotator_id)
        return "repeated" if last and replace(last.said, response_ms=said.response_ms) == said else "refused"


def keep_draft(engine: Engine, annotator_id: int, draft: Draft) -> None:
    """Keep what was typed. StoreError when the assignment is not theirs, or done."""
    with writing(engine) as session:
        drafts.save(session, draft.assignment_id, annotator_id, draft.content)


def stay(engine: Engine, annotator_id: int, assignment_id: int) -> None:
    """Keep the question for the annotator. StoreError when somebody else has taken it."""
    with writing(engine, durable=False) as session:
        comparisons.renew(session, assignment_id, annotator_id)


def _said(answer: Answer, display_order: list[int]) -> Said:
    """The answer with candidates in the stead of places on the screen. StoreError is left to the store."""
    ranking = answer.ranking and [
        [display_order[place] for place in group if place < len(display_order)] for group in answer.ranking
    ]
    return Said(
        choice=answer.choice,
        ranking=ranking,
        strength=answer.strength,
        ratings=answer.ratings,
        written=answer.written,
        reason=answer.reason,
        rationale=answer.rationale.strip(),
        response_ms=answer.response_ms,
    )
