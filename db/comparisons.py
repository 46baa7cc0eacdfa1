"""Comparisons, and their assignments: who is asked what, and for how long the question is theirs.

A comparison wants `overlap` judgments from annotators of each kind, and `places` keeps any from being given away
twice. A lease that runs out frees its place without anybody's help: an annotator who is gone strands nothing.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.orm import Session

from . import annotators, clock, places
from .columns import Message
from .errors import StoreError
from .hashing import canonical_json, sha256_text
from .tables import Annotator, Assignment, Candidate, Comparison, ComparisonCandidate, Prompt
from .upsert import upsert
from .words import AnnotatorKind, Purpose

LEASE_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Created:
    """The row of a comparison; `created` is False when it was there already."""

    id: int
    created: bool


@dataclass(frozen=True, slots=True)
class AssignedTask:
    """What the annotator is shown. `texts` and `candidate_ids` are in the display order, left to right."""

    assignment_id: int
    comparison_id: int
    prompt_id: int
    messages: list[Message]
    texts: list[str]
    candidate_ids: list[int]
    expires_at: datetime


def create_pair(
    session: Session,
    prompt_id: int,
    candidate_ids: Sequence[int],
    purpose: Purpose = "train",
    overlap: int = 1,
    priority: int = 0,
    round_id: int | None = None,
    repeats_id: int | None = None,
    gold_candidate_id: int | None = None,
) -> Created:
    """Ask about two or more candidates of one prompt.

    The same question for the same purpose is one row: asking again changes nothing, the order of the candidates
    included. StoreError for fewer than two candidates, a repeated one, or one of another prompt.
    """
    _check_candidates(session, prompt_id, candidate_ids, gold_candidate_id)
    key = sha256_text(canonical_json([purpose, sorted(candidate_ids), repeats_id]))
    statement = upsert(session, Comparison).on_conflict_do_nothing(index_elements=["key"]).returning(Comparison.id)
    comparison_id = session.scalar(
        statement.values(
            prompt_id=prompt_id,
            purpose=purpose,
            key=key,
            overlap=overlap,
            priority=priority,
            round_id=round_id,
            repeats_id=repeats_id,
            gold_candidate_id=gold_candidate_id,
        )
    )
    if comparison_id is None:
        return Created(session.scalars(select(Comparison.id).where(Comparison.key == key)).one(), created=False)
    session.add_all(
        ComparisonCandidate(
            comparison_id=comparison_id, position=position, candidate_id=candidate_id, prompt_id=prompt_id
        )
        for position, candidate_id in enumerate(candidate_ids)
    )
    session.flush()
    return Created(comparison_id, created=True)


def next_assignment(
    session: Session,
    annotator_id: int,
    rng_seed: int | None = None,
    lease_seconds: float = LEASE_SECONDS,
    purpose: Purpose | None = None,
    round_id: int | None = None,
) -> AssignedTask | None:
    """Lease the annotator their next comparison; None when nothing is owed that they have not had.

    Their own unfinished assignment comes first, with its display order as they saw it, also after its lease ran out
    if the place is still owed. Otherwise: the highest priority; of those the comparison with the fewest judgments
    still owed, so that started ones are finished; of those the oldest. The display order is shuffled once and kept;
    `rng_seed` makes the shuffle repeatable. StoreError for an annotator who is disabled or has withdrawn.

    Call it in a `writing` transaction of its own: one that also submits may wait for another such one, and lose.
    """
    annotator = annotators.active(session, annotator_id)
    now = clock.now()
    asked = _asked(purpose, round_id)
    assignment = _resume(session, annotator, now, asked) or _claim(session, annotator, now, asked, rng_seed)
    if assignment is None:
        return None
    assignment.state = "open"
    assignment.leased_at = now
    assignment.expires_at = now + timedelta(seconds=lease_seconds)
    session.flush()
    return _task(session, assignment)


def renew(session: Session, assignment_id: int, annotator_id: int, lease_seconds: float = LEASE_SECONDS) -> datetime:
    """Extend the lease and return when it now ends. StoreError when it is not theirs, done, or its place is taken."""
    annotator = annotators.active(session, annotator_id)
    assignment, comparison = own_assignment(session, assignment_id, annotator_id)
    now = clock.now()
    if assignment.state == "done":
        raise StoreError(f"assignment {assignment_id} is done; ask for the next one")
    if not places.is_owed(session, comparison, annotator, now):
        raise StoreError(f"the lease on assignment {assignment_id} ran out and its place is taken; ask for the next")
    assignment.state = "open"
    assignment.expires_at = now + timedelta(seconds=lease_seconds)
    return assignment.expires_at


def candidates_of(session: Session, comparison_id: int) -> list[Candidate]:
    """The candidates of a comparison, by position (not as displayed)."""
    query = (
        select(Candidate)
        .join(ComparisonCandidate, ComparisonCandidate.candidate_id == Candidate.id)
        .where(ComparisonCandidate.comparison_id == comparison_id)
        .order_by(ComparisonCandidate.position)
    )
    return list(session.scalars(query))


def open_count(session: Session, round_id: int | None = None, kind: AnnotatorKind = "human") -> int:
    """Judgments still owed by annotators of `kind`, leased ones included, over all comparisons or one round's."""
    judged = places.judged(kind)
    return sum(
        session.scalars(select(Comparison.overlap - judged).where(Comparison.overlap > judged, _asked(None, round_id)))
    )


def close(session: Session, comparison_id: int) -> None:
    """Ask nobody else; judgments of those who hold a lease are still taken."""
    comparison = places.hold(session, comparison_id)
    comparison.closed_at = comparison.closed_at or clock.now()


def own_assignment(session: Session, assignment_id: int, annotator_id: int) -> tuple[Assignment, Comparison]:
    """The assignment and its comparison, held until the end of the transaction.

    StoreError when there is none, or it is another annotator's.
    """
    comparison_id = session.scalar(select(Assignment.comparison_id).where(Assignment.id == assignment_id))
    if comparison_id is None:
        raise StoreError(f"there is no assignment {assignment_id}; ask for the next one")
    comparison = places.hold(session, comparison_id)
    assignment = session.get_one(Assignment, assignment_id, populate_existing=True)
    if assignment.annotator_id != annotator_id:
        raise StoreError(f"assignment {assignment_id} is another annotator's; ask for the next one")
    return assignment, comparison


def _resume(session: Session, annotator: Annotator, now: datetime, asked: ColumnElement[bool]) -> Assignment | None:
    """The annotator's own unfinished assignment, the newest first, whose place is still owed; its comparison held."""
    unfinished = (
        select(Assignment)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .where(
            Assignment.annotator_id == annotator.id,
            Assignment.state != "done",
            asked,
            Comparison.overlap > places.taken(annotator.kind, now, besides=annotator.id),
        )
        .order_by(Assignment.leased_at.desc(), Assignment.id.desc())
    )
    for assignment in session.scalars(unfinished):
        comparison = places.hold(session, assignment.comparison_id)
        if comparison.closed_at is None and places.is_owed(session, comparison, annotator, now):
            return assignment
    return None


def _claim(
    session: Session, annotator: Annotator, now: datetime, asked: ColumnElement[bool], rng_seed: int | None
) -> Assignment | None:
    """A new assignment on the first comparison that owes the annotator a place; its comparison held."""
    tally = places.tally(annotator.kind, now)
    owed = Comparison.overlap - func.coalesce(tally.c.taken, 0)
    had = select(Assignment.comparison_id).where(Assignment.annotator_id == annotator.id)
    owing = (
        select(Comparison)
        .outerjoin(tally, tally.c.comparison_id == Comparison.id)
        .where(asked, owed > 0, Comparison.id.not_in(had))
        .order_by(Comparison.priority.desc(), owed, Comparison.id)
        .limit(1)
    )
    # First past the rows that others hold at this moment; then, rather than send someone away, waiting for them.
    for skip_locked in (True, False):
        lost: list[int] = []
        locking = owing.with_for_update(of=Comparison, key_share=True, skip_locked=skip_locked)
        while (comparison := session.scalar(locking.where(Comparison.id.not_in(lost)))) is not None:
            # The place may have gone between the search and the lock.
            if places.is_owed(session, comparison, annotator, now):
                return _assign(session, comparison, annotator, now, rng_seed)
            lost.append(comparison.id)
    return None


def _assign(
    session: Session, comparison: Comparison, annotator: Annotator, now: datetime, rng_seed: int | None
) -> Assignment:
    """A new assignment on the held comparison; leases that ran out on it are marked so."""
    session.execute(
        update(Assignment)
        .where(Assignment.comparison_id == comparison.id, Assignment.state == "open", Assignment.expires_at <= now)
        .values(state="expired")
    )
    order = list(
        session.scalars(
            select(ComparisonCandidate.candidate_id)
            .where(ComparisonCandidate.comparison_id == comparison.id)
            .order_by(ComparisonCandidate.position)
        )
    )
    # The seed alone would put the same side left on every comparison: position would be a clue.
    shuffler = random.Random() if rng_seed is None else random.Random(f"{rng_seed}:{comparison.key}:{annotator.id}")
    shuffler.shuffle(order)
    assignment = Assignment(
        comparison_id=comparison.id,
        annotator_id=annotator.id,
        display_order=order,
        state="open",
        leased_at=now,
        expires_at=now,
    )
    session.add(assignment)
    return assignment


def _task(session: Session, assignment: Assignment) -> AssignedTask:
    prompt = session.scalars(
        select(Prompt)
        .join(Comparison, Comparison.prompt_id == Prompt.id)
        .where(Comparison.id == assignment.comparison_id)
    ).one()
    shown = select(Candidate.id, Candidate.text).where(Candidate.id.in_(assignment.display_order))
    texts = {candidate_id: text for candidate_id, text in session.execute(shown)}
    return AssignedTask(
        assignment_id=assignment.id,
        comparison_id=assignment.comparison_id,
        prompt_id=prompt.id,
        messages=prompt.messages,
        texts=[texts[candidate_id] for candidate_id in assignment.display_order],
        candidate_ids=list(assignment.display_order),
        expires_at=assignment.expires_at,
    )


def _asked(purpose: Purpose | None, round_id: int | None) -> ColumnElement[bool]:
    """Still asked: not closed, its prompt in use, and of this purpose and round where that matters."""
    retired = select(Prompt.id).where(Prompt.retired_at.is_not(None))
    conditions: list[ColumnElement[bool]] = [Comparison.closed_at.is_(None), Comparison.prompt_id.not_in(retired)]
    if purpose is not None:
        conditions.append(Comparison.purpose == purpose)
    if round_id is not None:
        conditions.append(Comparison.round_id == round_id)
    return and_(*conditions)


def _check_candidates(
    session: Session, prompt_id: int, candidate_ids: Sequence[int], gold_candidate_id: int | None
) -> None:
    """Say in words what the constraints would refuse."""
    if len(set(candidate_ids)) != len(candidate_ids) or len(candidate_ids) < 2:
        raise StoreError(f"a comparison is between two or more different candidates, not {list(candidate_ids)}")
    query = select(Candidate.id, Candidate.prompt_id).where(Candidate.id.in_(candidate_ids))
    prompt_of = {candidate_id: of_prompt for candidate_id, of_prompt in session.execute(query)}
    strays = [candidate_id for candidate_id in candidate_ids if prompt_of.get(candidate_id) != prompt_id]
    if strays:
        raise StoreError(f"candidates {strays} do not answer prompt {prompt_id}; compare candidates of one prompt")
    if gold_candidate_id is not None and gold_candidate_id not in candidate_ids:
        raise StoreError(f"the gold answer {gold_candidate_id} is not among the candidates {list(candidate_ids)}")
