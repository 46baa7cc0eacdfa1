"""The search for what an annotator is asked next: their own unfinished question, or the first that is free.

No query here grows with the number of comparisons or of assignments: each goes along an index and stops at the first
that fits. They are built once, for building one takes longer than running it.
"""

import random
from collections.abc import Sequence
from datetime import datetime
from functools import cache

from sqlalchemy import ColumnElement, Select, bindparam, exists, literal_column, or_, select
from sqlalchemy.orm import Session

from . import comparison_rows, hidden, places
from .tables import Annotator, Assignment, Comparison, ComparisonCandidate, Queue
from .words import AnnotatorKind


def find(
    session: Session,
    annotator: Annotator,
    now: datetime,
    queue_id: int | None,
    round_id: int | None,
    rng_seed: int | None,
) -> Assignment | None:
    """The assignment that is the annotator's next, whose place is free or theirs; its comparison is held.

    A new one is not stored yet. Leases that ran out are swept before others are searched, which may give the annotator
    one of their own back.
    """
    begun, lapsed = session.execute(_at_hand(), {"annotator_id": annotator.id, "now": now}).one()
    own = _resume(session, annotator, now, queue_id, round_id) if begun else None
    if own is not None:
        return own
    swept = places.sweep(session, now) if lapsed else ()
    own = _resume(session, annotator, now, queue_id, round_id, among=swept) if begun and swept else None
    return own or _claim(session, annotator, queue_id, round_id, rng_seed, holds_others=bool(swept))


def _resume(
    session: Session,
    annotator: Annotator,
    now: datetime,
    queue_id: int | None,
    round_id: int | None,
    among: Sequence[int] | None = None,
) -> Assignment | None:
    """The annotator's own unfinished assignment, whose place is theirs or free again.

    `among` some comparisons, where that is asked. A paused queue gives back leases that nobody has marked as expired,
    and no others.
    """
    unfinished = _unfinished(annotator.kind, queue_id is not None, round_id is not None)
    asked = {"annotator_id": annotator.id, "queue_id": queue_id, "round_id": round_id}
    for assignment_id, comparison_id in session.execute(unfinished, asked).all():
        if among is not None and comparison_id not in among:
            continue
        savepoint = session.begin_nested()
        comparison = places.hold(session, comparison_id)
        assignment = session.get_one(Assignment, assignment_id, populate_existing=True)
        if comparison.closed_at is None and places.is_theirs(session, assignment, comparison, annotator.kind, now):
            savepoint.commit()
            return assignment
        savepoint.rollback()  # lets go of the comparison
    return None


def _claim(
    session: Session,
    annotator: Annotator,
    queue_id: int | None,
    round_id: int | None,
    rng_seed: int | None,
    holds_others: bool,
) -> Assignment | None:
    """A new assignment, by priority of the queues; in one by rank; of these the nearest to complete; the oldest."""
    open_queues = session.scalars(_open_queues(queue_id is not None), {"queue_id": queue_id}).all()
    # First past the comparisons that others hold at this moment; then, rather than send someone away, waiting for them;
    # but not with comparisons in hand, for which others may wait.
    for search in (_first_free,) if holds_others else (_first_free, _awaited):
        for queue in open_queues:
            comparison = search(session, annotator, queue.id, round_id)
            if comparison is not None:
                # Only now, with an ordinary one at hand: nobody is kept busy with hidden questions alone.
                secret = hidden.draw(session, queue, annotator) if round_id is None else None
                if secret is not None:
                    return _assignment(annotator, secret.comparison_id, secret.display_order)
                return _assignment(annotator, comparison.id, _shuffled(session, comparison, annotator, rng_seed))
    return None


def _first_free(session: Session, annotator: Annotator, queue_id: int, round_id: int | None) -> Comparison | None:
    """The first comparison that nobody else holds, held."""
    unlocked = _owing(annotator.kind, round_id is not None, locking=True)
    asked = {"annotator_id": annotator.id, "queue_id": queue_id, "round_id": round_id}
    while (comparison := session.scalar(unlocked, asked)) is not None:
        if places.has_free(session, comparison, annotator.kind):
            return comparison
        places.recount(session, [comparison.id])
    return None


def _awaited(session: Session, annotator: Annotator, queue_id: int, round_id: int | None) -> Comparison | None:
    """The first comparison, waited for and held."""
    owing = _owing(annotator.kind, round_id is not None, locking=False)
    asked = {"annotator_id": annotator.id, "queue_id": queue_id, "round_id": round_id}
    passed: list[int] = []
    while (found := session.scalar(owing.where(Comparison.id.not_in(passed)) if passed else owing, asked)) is not None:
        savepoint = session.begin_nested()
        comparison = places.hold(session, found.id)
        if comparison.closed_at is None and places.has_free(session, comparison, annotator.kind):
            savepoint.commit()
            return comparison
        savepoint.rollback()  # lets go of the comparison
        passed.append(found.id)
    return None


def _assignment(annotator: Annotator, comparison_id: int, display_order: list[int]) -> Assignment:
    return Assignment(comparison_id=comparison_id, annotator_id=annotator.id, display_order=display_order)


def _shuffled(session: Session, comparison: Comparison, annotator: Annotator, rng_seed: int | None) -> list[int]:
    order = list(session.scalars(_candidates(), {"comparison_id": comparison.id}))
    # The seed alone would put the same side left on every comparison: position would be a clue.
    shuffler = random.Random() if rng_seed is None else random.Random(f"{rng_seed}:{comparison.key}:{annotator.id}")
    shuffler.shuffle(order)
    return order


def asked(of_queue: bool, of_round: bool) -> list[ColumnElement[bool]]:
    """The comparison's prompt is in use, and it is of the `queue_id` and the `round_id` where that matters."""
    conditions = [comparison_rows.in_use()]
    if of_queue:
        conditions.append(Comparison.queue_id == bindparam("queue_id"))
    if of_round:
        conditions.append(Comparison.round_id == bindparam("round_id"))
    return conditions


@cache
def _at_hand() -> Select[bool, bool]:
    """Whether the annotator has begun anything, and whether any lease ran out: mostly not, and two searches less."""
    begun = exists().where(
        Assignment.annotator_id == bindparam("annotator_id"), Assignment.state.in_(("open", "expired"))
    )
    return select(begun, places.is_lapsing())


@cache
def _unfinished(kind: AnnotatorKind, of_queue: bool, of_round: bool) -> Select[int, int]:
    """(assignment id, comparison id) of what the annotator has begun and could go on with."""
    own = Comparison.purpose.not_in(places.COUNTED)
    theirs = or_(Assignment.state == "open", Queue.paused_at.is_(None) & or_(own, places.FREE[kind] > 0))
    return (
        select(Assignment.id, Assignment.comparison_id)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .join(Queue, Queue.id == Comparison.queue_id)
        .where(
            Assignment.annotator_id == bindparam("annotator_id"),
            Assignment.state.in_(("open", "expired")),
            Comparison.closed_at.is_(None),
            theirs,
            *asked(of_queue, of_round),
        )
        .order_by((Assignment.state == "open").desc(), Assignment.leased_at.desc(), Assignment.id.desc())
    )


@cache
def _open_queues(one: bool) -> Select[Queue]:
    queues = select(Queue).where(Queue.paused_at.is_(None)).order_by(Queue.priority.desc(), Queue.name)
    return queues.where(Queue.id == bindparam("queue_id")) if one else queues


@cache
def _owing(kind: AnnotatorKind, of_round: bool, locking: bool) -> Select[Comparison]:
    """The next comparison of the queue that has a place for the annotator."""
    had = exists().where(
        Assignment.comparison_id == Comparison.id, Assignment.annotator_id == bindparam("annotator_id")
    )
    owing = (
        select(Comparison)
        .where(
            places.is_offered(kind),
            ~had,
            *asked(True, of_round),
        )
        .order_by(Comparison.rank, places.FREE[kind], Comparison.id)
        .limit(literal_column("1"))
        .execution_options(populate_existing=True)
    )
    return owing.with_for_update(of=Comparison, key_share=True, skip_locked=True) if locking else owing


@cache
def _candidates() -> Select[int]:
    return (
        select(ComparisonCandidate.candidate_id)
        .where(ComparisonCandidate.comparison_id == bindparam("comparison_id"))
        .order_by(ComparisonCandidate.position)
    )
