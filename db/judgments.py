"""Judgments: what annotators said. Nothing is overwritten: the first submit stands, a correction is a new row."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import cast

from sqlalchemy import Delete, Table, bindparam, delete, func, select
from sqlalchemy.orm import Session

from . import annotators, audit, clock, judgment_rows, places, queues, tasks
from .comparisons import own_assignment
from .errors import StoreError
from .judgment_rows import JudgmentRow
from .said import Ranking, Said, from_judgment, to_judgment
from .tables import Annotator, Assignment, Comparison, Draft, Judgment
from .tasks import AssignedTask
from .upsert import lots
from .words import AnnotatorKind, Choice, Purpose

__all__ = [
    "JudgmentRow",
    "LastJudgment",
    "Ranking",
    "Receipt",
    "Said",
    "by_ids",
    "correct",
    "counts",
    "current",
    "last_of",
    "newest_id",
    "submit",
]

_LATEST = 50  # assignments of theirs: the one judged last is among those leased last


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a submit: the judgment that stands."""

    judgment_id: int
    stored: bool  # False when it was there already
    count: int  # assignments that this annotator has judged, in all


@dataclass(frozen=True, slots=True)
class LastJudgment:
    """What an annotator said last, and about what: it can be shown again and corrected."""

    judgment_id: int
    task: AssignedTask
    said: Said


def submit(session: Session, assignment_id: int, annotator_id: int, said: Said) -> Receipt:
    """Store what the annotator said about their assignment, and delete its draft.

    A repeated submit succeeds and stores nothing: the first one stands, whatever the second says (see `correct`).
    After the lease ran out the judgment is still taken if its place is free.

    StoreError for an assignment that is unknown, another annotator's, or lost to someone else; for what does not fit
    the kind of the queue or the candidates; for an annotator who is disabled or has withdrawn.
    """
    annotator = _locked(session, annotator_id)
    assignment, comparison = own_assignment(session, assignment_id, annotator_id)
    if assignment.state == "done":
        first = Judgment.assignment_id == assignment_id, Judgment.supersedes_id.is_(None)
        return Receipt(session.scalars(select(Judgment.id).where(*first)).one(), stored=False, count=annotator.judged)
    annotators.usable(annotator)
    now = clock.now()
    lapsed = assignment.state != "open" or assignment.expires_at <= now
    if (lapsed and comparison.closed_at) or not places.is_theirs(session, assignment, comparison, annotator.kind, now):
        raise StoreError(
            f"the lease on assignment {assignment_id} ran out at {assignment.expires_at:%H:%M:%S} UTC and its place is "
            "taken; the judgment was not stored: ask for the next comparison"
        )
    judgment = to_judgment(said, assignment, queues.get(session, comparison.queue_id), supersedes_id=None)
    places.take(session, assignment)
    assignment.state = "done"  # the place stays taken
    annotator.judged += 1
    session.add(judgment)
    session.flush()
    _forget_draft(session, assignment_id)
    return Receipt(judgment.id, stored=True, count=annotator.judged)


def correct(session: Session, judgment_id: int, annotator_id: int, said: Said) -> Receipt:
    """Supersede the annotator's own judgment, the newest of its chain, by another, and delete the draft.

    Repeating the correction that superseded it succeeds and stores nothing. StoreError for a judgment that is
    unknown, another annotator's, or corrected otherwise already; otherwise as `submit`.
    """
    old = session.get(Judgment, judgment_id)
    if old is None:
        raise StoreError(f"there is no judgment {judgment_id}; see your own list of judgments")
    annotator = _locked(session, annotator_id)
    assignment, comparison = own_assignment(session, old.assignment_id, annotator_id)
    annotators.usable(annotator)
    new = to_judgment(said, assignment, queues.get(session, comparison.queue_id), supersedes_id=old.id)
    successor = session.scalars(select(Judgment).where(Judgment.supersedes_id == old.id)).one_or_none()
    if successor is not None:
        if not _says(successor, new):
            raise StoreError(f"judgment {judgment_id} was corrected by {successor.id} already; correct that one")
        return Receipt(successor.id, stored=False, count=annotator.judged)
    session.add(new)
    _forget_draft(session, assignment.id)
    session.flush()
    audit.record(session, annotator.name, "correct", "judgment", new.id, {"supersedes": old.id})
    return Receipt(new.id, stored=True, count=annotator.judged)


def last_of(session: Session, annotator_id: int) -> LastJudgment | None:
    """What the annotator said last, in its newest form; None when they said nothing or have withdrawn."""
    if annotators.get(session, annotator_id).withdrawn_at is not None:
        return None
    latest = (
        select(Assignment.id)
        .where(Assignment.annotator_id == annotator_id, Assignment.state == "done")
        .order_by(Assignment.leased_at.desc())  # as the index has them: nothing is sorted
        .limit(_LATEST)
    )
    said_last = select(Judgment).where(Judgment.assignment_id.in_(latest)).order_by(Judgment.id.desc()).limit(1)
    judgment = session.scalar(said_last)
    if judgment is None:
        return None
    task = tasks.task_of(session, session.get_one(Assignment, judgment.assignment_id))
    return LastJudgment(judgment.id, task, from_judgment(judgment))


def current(
    session: Session,
    kind: AnnotatorKind | None = None,
    purposes: Sequence[Purpose] = ("train",),
    round_ids: Sequence[int] | None = None,
) -> list[JudgmentRow]:
    """The judgments that count today, ordered by judgment id: the newest of each chain, of nobody withdrawn.

    `kind` None takes people and simulated annotators together; `round_ids` None takes every round and none.
    """
    conditions = [judgment_rows.is_newest(), Annotator.withdrawn_at.is_(None), Comparison.purpose.in_(purposes)]
    if kind is not None:
        conditions.append(Annotator.kind == kind)
    if round_ids is not None:
        conditions.append(Comparison.round_id.in_(round_ids))
    return judgment_rows.read(session, conditions)


def newest_id(session: Session) -> int:
    """The id of the judgment that was stored last; 0 when there is none."""
    return session.scalar(select(func.max(Judgment.id))) or 0


def by_ids(session: Session, ids: Sequence[int]) -> list[JudgmentRow]:
    """These judgments, ordered by judgment id, whether they still count or not; StoreError names a missing one."""
    wanted = sorted(set(ids))
    rows = [row for lot in lots(wanted) for row in judgment_rows.read(session, [Judgment.id.in_(lot)])]
    missing = set(wanted) - {row.judgment_id for row in rows}
    if missing:
        raise StoreError(f"there is no judgment {min(missing)}; is this the store that it was given to?")
    return rows


def counts(session: Session) -> dict[AnnotatorKind, dict[Choice, int]]:
    """How many judgments count today, by the annotator's kind and by choice; both kinds are always named."""
    query = (
        select(Annotator.kind, Judgment.choice, func.count())
        .select_from(Judgment)
        .join(Assignment, Assignment.id == Judgment.assignment_id)
        .join(Annotator, Annotator.id == Assignment.annotator_id)
        .where(judgment_rows.is_newest(), Annotator.withdrawn_at.is_(None))
        .group_by(Annotator.kind, Judgment.choice)
    )
    counted: dict[AnnotatorKind, dict[Choice, int]] = {"human": {}, "simulated": {}}
    for kind, choice, count in session.execute(query):
        counted[kind][choice] = count
    return counted


def _says(judgment: Judgment, other: Judgment) -> bool:
    """Whether both say the same; how long it took does not matter."""
    return replace(from_judgment(judgment), response_ms=None) == replace(from_judgment(other), response_ms=None)


def _forget_draft(session: Session, assignment_id: int) -> None:
    session.connection().execute(_forgetting(), {"assignment_id": assignment_id})


@cache
def _forgetting() -> Delete:
    """Built once: building a statement takes longer than running it."""
    return delete(cast(Table, Draft.__table__)).where(Draft.assignment_id == bindparam("assignment_id"))


def _locked(session: Session, annotator_id: int) -> Annotator:
    """The annotator, locked as by `annotators.active`, but whether they may act is not asked yet."""
    found = session.get(Annotator, annotator_id, with_for_update={"key_share": True}, populate_existing=True)
    return found or annotators.get(session, annotator_id)
