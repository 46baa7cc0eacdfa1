"""Labeling sessions: an annotator sits down to label, with a goal, and sees at the end how it went."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import get_args

from sqlalchemy import exists, select
from sqlalchemy.orm import Session, aliased

from . import annotators, clock, queues
from .errors import StoreError
from .tables import Assignment, Comparison, Judgment, LabelingSession
from .words import GoalKind

# What was handed out longer before a session, and is answered in it, is not counted.
_OLDEST_LEASE = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """How a session went: of the first judgments that were given in it; corrections change what they say."""

    judgments: int  # skips and flags included
    skipped: int
    flagged: int
    median_response_ms: float | None
    seconds: float  # from the start to the end, or to now
    repeats: int  # questions that were asked a second time, and answered both times
    repeats_agreed: int
    gold: int  # questions whose answer is known, and that were answered
    gold_hits: int
    goal_kind: GoalKind
    goal: int
    queue_name: str | None  # none: every queue
    started_at: datetime
    ended_at: datetime | None


def start(
    session: Session, annotator_id: int, goal_kind: GoalKind, goal: int, queue_id: int | None = None
) -> LabelingSession:
    """A new session, of one queue or of all. One that the annotator had not ended ends now.

    StoreError for a goal below 1, an unknown queue, or an annotator who is disabled or has withdrawn.
    """
    annotators.active(session, annotator_id)
    if goal_kind not in get_args(GoalKind) or goal < 1:
        raise StoreError(f"a goal of {goal} {goal_kind}; choose 1 or more {' or '.join(get_args(GoalKind))}")
    if queue_id is not None:
        queues.get(session, queue_id)
    now = clock.now()
    unfinished = current(session, annotator_id)
    if unfinished is not None:
        unfinished.ended_at = now
    started = LabelingSession(
        annotator_id=annotator_id, queue_id=queue_id, goal_kind=goal_kind, goal=goal, started_at=now
    )
    session.add(started)
    session.flush()
    return started


def current(session: Session, annotator_id: int) -> LabelingSession | None:
    """The session that the annotator has not ended."""
    return session.scalar(
        select(LabelingSession)
        .where(LabelingSession.annotator_id == annotator_id, LabelingSession.ended_at.is_(None))
        .order_by(LabelingSession.id.desc())
        .limit(1)
    )


def end(session: Session, session_id: int, annotator_id: int) -> LabelingSession:
    """End the annotator's own session; ending it twice keeps the first moment. StoreError when it is not theirs."""
    annotators.active(session, annotator_id)
    ended = session.get(LabelingSession, session_id, populate_existing=True)
    if ended is None or ended.annotator_id != annotator_id:
        raise StoreError(f"annotator {annotator_id} has no session {session_id}; start one")
    ended.ended_at = ended.ended_at or clock.now()
    return ended


def summary(session: Session, session_id: int) -> SessionSummary:
    """How the session went, or goes so far. StoreError when there is none."""
    row = session.get(LabelingSession, session_id)
    if row is None:
        raise StoreError(f"there is no session {session_id}; start one")
    until = row.ended_at or clock.now()
    given = _given(session, row.annotator_id, row.started_at, until)
    choices = [newest.choice for _, newest, _ in given]
    times = [first.response_ms for first, _, _ in given if first.response_ms is not None]
    answers = [(newest, comparison) for _, newest, comparison in given if newest.choice not in ("skip", "flag")]
    gold = [_hits(newest, comparison) for newest, comparison in answers if comparison.purpose == "gold"]
    again = {comparison.repeats_id: newest for newest, comparison in answers if comparison.repeats_id is not None}
    originals = _newest_about(session, row.annotator_id, list(again))
    agreed = [_meaning(again[original]) == _meaning(judgment) for original, judgment in originals.items()]
    return SessionSummary(
        judgments=len(given),
        skipped=choices.count("skip"),
        flagged=choices.count("flag"),
        median_response_ms=float(median(times)) if times else None,
        seconds=(until - row.started_at).total_seconds(),
        repeats=len(agreed),
        repeats_agreed=sum(agreed),
        gold=len(gold),
        gold_hits=sum(gold),
        goal_kind=row.goal_kind,
        goal=row.goal,
        queue_name=None if row.queue_id is None else queues.get(session, row.queue_id).name,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def _given(
    session: Session, annotator_id: int, since: datetime, until: datetime
) -> list[tuple[Judgment, Judgment, Comparison]]:
    """(first judgment, newest of its chain, comparison) of each question that the annotator answered in between."""
    first, newest, newer = aliased(Judgment), aliased(Judgment), aliased(Judgment)
    query = (
        select(first, newest, Comparison)
        .select_from(Assignment)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .join(first, first.assignment_id == Assignment.id)
        .join(newest, newest.assignment_id == Assignment.id)
        .where(
            Assignment.annotator_id == annotator_id,
            Assignment.state == "done",
            Assignment.leased_at.between(since - _OLDEST_LEASE, until),  # keeps the search to an index
            first.created_at.between(since, until),
            ~exists().where(newer.supersedes_id == newest.id),
        )
    )
    # Asked of the store, "is it a first one" would be answered by reading all first ones of everybody.
    return [(one, two, of) for one, two, of in session.execute(query) if one.supersedes_id is None]


def _newest_about(session: Session, annotator_id: int, comparison_ids: Sequence[int]) -> dict[int, Judgment]:
    """The annotator's newest judgment of each of the comparisons that they answered, neither skip nor flag."""
    newer = aliased(Judgment)
    query = (
        select(Assignment.comparison_id, Judgment)
        .join(Judgment, Judgment.assignment_id == Assignment.id)
        .where(
            Assignment.comparison_id.in_(comparison_ids),
            Assignment.annotator_id == annotator_id,
            Judgment.choice.not_in(("skip", "flag")),
            ~exists().where(newer.supersedes_id == Judgment.id),
        )
    )
    return {comparison_id: judgment for comparison_id, judgment in session.execute(query)}


def _hits(judgment: Judgment, comparison: Comparison) -> bool:
    """Whether the answer that is known to be right was preferred to all others."""
    best = judgment.ranking[0] if judgment.ranking else [judgment.preferred_id]
    return best == [comparison.gold_candidate_id]


def _meaning(judgment: Judgment) -> object:
    """Equal for answers that say the same, whatever the sides on which the candidates were shown."""
    if judgment.ranking is not None:
        return [sorted(group) for group in judgment.ranking]
    return judgment.preferred_id or judgment.choice
