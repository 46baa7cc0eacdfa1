"""Comparisons, and their assignments: who is asked what, and for how long the question is theirs.

A comparison wants `overlap` judgments from annotators of each kind, and `places` keeps any from being given away
twice. A lease that runs out frees its place without anybody's help: an annotator who is gone strands nothing.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import ColumnElement, Select, and_, bindparam, case, func, select, true
from sqlalchemy.orm import Session

from . import annotators, audit, claims, clock, comparison_rows, places, queues, tasks
from .comparison_rows import Created, NewComparison
from .errors import StoreError
from .kinds import CANDIDATES, COMPARABLE
from .tables import Assignment, Candidate, Comparison, ComparisonCandidate, Queue
from .tasks import AssignedTask
from .words import AnnotatorKind, Purpose

__all__ = [
    "LEASE_SECONDS",
    "AssignedTask",
    "Created",
    "candidates_of",
    "close",
    "create",
    "make_gold",
    "next_assignment",
    "open_count",
    "own_assignment",
    "renew",
    "set_overlap",
]

LEASE_SECONDS = 600


def create(
    session: Session,
    queue_id: int,
    prompt_id: int,
    candidate_ids: Sequence[int],
    purpose: Purpose = "train",
    overlap: int | None = None,
    rank: int = 0,
    round_id: int | None = None,
    repeats_id: int | None = None,
    gold_candidate_id: int | None = None,
) -> Created:
    """Ask about candidates of one prompt, as many as the kind of the queue is about; `overlap` None is the queue's.

    The same question for the same purpose is one row of its queue: asking again changes nothing, the order of the
    candidates included. StoreError for a number of candidates that does not fit, a repeated one, or one of another
    prompt; and for another gold answer than the one that is known already.
    """
    queue = queues.get(session, queue_id)
    _check_candidates(session, queue, prompt_id, candidate_ids, gold_candidate_id)
    comparison = NewComparison(
        queue_id=queue_id,
        prompt_id=prompt_id,
        candidate_ids=candidate_ids,
        overlap=queue.overlap if overlap is None else overlap,
        purpose=purpose,
        rank=rank,
        round_id=round_id,
        repeats_id=repeats_id,
        gold_candidate_id=gold_candidate_id,
    )
    (created,) = comparison_rows.store(session, [comparison])
    if purpose == "gold" and not created.created:
        _check_same_answer(session, queue, created.id, gold_candidate_id)
    return created


def make_gold(session: Session, comparison_id: int, candidate_id: int, actor: str = audit.SYSTEM) -> Created:
    """A gold comparison of the same candidates whose right, or best, answer is known to be `candidate_id`.

    It is asked of every annotator once, with the gold share of its queue. StoreError for a comparison of a queue that
    is neither of pairs nor of rankings, for a candidate that is not among those compared, and where another answer is
    known already; the same one again changes nothing.
    """
    original = get(session, comparison_id)
    queue = queues.get(session, original.queue_id)
    if queue.kind not in COMPARABLE:
        raise StoreError(f"queue {queue.name} is of kind {queue.kind}; gold answers are for {' and '.join(COMPARABLE)}")
    candidate_ids = [candidate.id for candidate in candidates_of(session, comparison_id)]
    made = create(session, queue.id, original.prompt_id, candidate_ids, "gold", gold_candidate_id=candidate_id)
    if made.created:
        details = {"of": comparison_id, "answer": candidate_id}
        audit.record(session, actor, "make gold", "comparison", made.id, details)
    return made


def get(session: Session, comparison_id: int) -> Comparison:
    """The comparison; StoreError when there is none."""
    comparison = session.get(Comparison, comparison_id)
    if comparison is None:
        raise StoreError(f"there is no comparison {comparison_id}; see the data of its queue")
    return comparison


def next_assignment(
    session: Session,
    annotator_id: int,
    rng_seed: int | None = None,
    lease_seconds: float = LEASE_SECONDS,
    queue_id: int | None = None,
    round_id: int | None = None,
) -> AssignedTask | None:
    """Lease the annotator their next comparison; None when nothing is owed that they have not had.

    Their own unfinished assignment comes first, with its display order as they saw it, also after its lease ran out
    if the place is still free. Otherwise the queues that are not paused are searched, or the one that is asked for:
    by priority; in a queue by rank; of these the comparison with the fewest free places, so that started ones are
    finished; of these the oldest. In its stead a hidden question may come (see hidden.py). The display order is
    shuffled once and kept; `rng_seed` makes the shuffle repeatable. StoreError for an annotator who is disabled or
    has withdrawn.

    Call it in a `writing` transaction of its own: one that also submits may wait for another such one, and lose.
    """
    annotator = annotators.active(session, annotator_id)
    now = clock.now()
    assignment = claims.find(session, annotator, now, queue_id, round_id, rng_seed)
    if assignment is None:
        return None
    assignment.leased_at = now
    assignment.expires_at = now + timedelta(seconds=lease_seconds)
    places.take(session, assignment)
    return tasks.task_of(session, assignment)


def renew(session: Session, assignment_id: int, annotator_id: int, lease_seconds: float = LEASE_SECONDS) -> datetime:
    """Extend the lease and return when it now ends. StoreError when it is not theirs, done, or its place is taken."""
    annotator = annotators.active(session, annotator_id)
    assignment, comparison = own_assignment(session, assignment_id, annotator_id)
    if assignment.state == "done":
        raise StoreError(f"assignment {assignment_id} is done; ask for the next one")
    now = clock.now()
    if not places.is_theirs(session, assignment, comparison, annotator.kind, now):
        raise StoreError(f"the lease on assignment {assignment_id} ran out and its place is taken; ask for the next")
    assignment.expires_at = now + timedelta(seconds=lease_seconds)
    places.take(session, assignment)
    return assignment.expires_at


def own_assignment(session: Session, assignment_id: int, annotator_id: int) -> tuple[Assignment, Comparison]:
    """The assignment and its comparison, held until the end of the transaction.

    StoreError when there is none, or it is another annotator's.
    """
    found = {"assignment_id": assignment_id}
    comparison = session.scalar(_its_comparison(), found, execution_options={"populate_existing": True})
    if comparison is None:
        raise StoreError(f"there is no assignment {assignment_id}; ask for the next one")
    # Only under the lock: what it says may have changed while we waited.
    assignment = session.scalars(_assignment(), found, execution_options={"populate_existing": True}).one()
    if assignment.annotator_id != annotator_id:
        raise StoreError(f"assignment {assignment_id} is another annotator's; ask for the next one")
    return assignment, comparison


def close(session: Session, comparison_id: int) -> None:
    """Ask nobody else; judgments of those who hold a lease are still taken."""
    comparison = places.hold(session, comparison_id)
    comparison.closed_at = comparison.closed_at or clock.now()


def set_overlap(session: Session, comparison_id: int, overlap: int) -> None:
    """Want another number of judgments; what is given or under way stays. StoreError for less than one."""
    if overlap < 1:
        raise StoreError(f"an overlap of {overlap}; at least one judgment is wanted of a comparison, or close it")
    places.hold(session, comparison_id).overlap = overlap
    places.recount(session, [comparison_id])


def candidates_of(session: Session, comparison_id: int) -> list[Candidate]:
    """The candidates of a comparison, by position (not as displayed)."""
    query = (
        select(Candidate)
        .join(ComparisonCandidate, ComparisonCandidate.candidate_id == Candidate.id)
        .where(ComparisonCandidate.comparison_id == comparison_id)
        .order_by(ComparisonCandidate.position)
    )
    return list(session.scalars(query))


def open_count(
    session: Session, round_id: int | None = None, kind: AnnotatorKind = "human", queue_id: int | None = None
) -> int:
    """Judgments still owed by annotators of `kind`, leased ones included, over all comparisons, a round's or a queue's.

    Closed comparisons, retired prompts, gold and repeated questions owe nothing; a paused queue owes as any other.
    """
    of: list[ColumnElement[bool]] = [true()]
    if queue_id is not None:
        of.append(Comparison.queue_id == queue_id)
    if round_id is not None:
        of.append(Comparison.round_id == round_id)
    # All of them from the index alone, less the few of retired prompts: quick with a million comparisons too.
    free = select(func.coalesce(func.sum(places.FREE[kind]), 0)).where(places.is_offered(kind), *of)
    # A condition on the queue would lead the search away from the retired prompts.
    of_these = case((and_(*of), places.FREE[kind]), else_=0)
    unasked = select(func.coalesce(func.sum(of_these), 0)).where(places.is_offered(kind), comparison_rows.is_retired())
    leased = places.leased(kind).where(Comparison.closed_at.is_(None), ~comparison_rows.is_retired(), *of)
    owed: int = session.scalars(free).one() - session.scalars(unasked).one() + session.scalars(leased).one()
    return owed


def newest_id(session: Session, purpose: Purpose) -> int:
    """The id of the newest comparison of that purpose; 0 when there is none."""
    return session.scalar(select(func.max(Comparison.id)).where(Comparison.purpose == purpose)) or 0


def _check_candidates(
    session: Session, queue: Queue, prompt_id: int, candidate_ids: Sequence[int], gold_candidate_id: int | None
) -> None:
    """Say in words what the constraints would refuse."""
    fewest, most = CANDIDATES[queue.kind]
    if len(set(candidate_ids)) != len(candidate_ids) or not fewest <= len(candidate_ids) <= most:
        many = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        raise StoreError(
            f"queue {queue.name} is of kind {queue.kind}: its comparisons are about {many} different candidates, not "
            f"{list(candidate_ids)}"
        )
    query = select(Candidate.id, Candidate.prompt_id).where(Candidate.id.in_(candidate_ids))
    prompt_of = {candidate_id: of_prompt for candidate_id, of_prompt in session.execute(query)}
    strays = [candidate_id for candidate_id in candidate_ids if prompt_of.get(candidate_id) != prompt_id]
    if strays:
        raise StoreError(f"candidates {strays} do not answer prompt {prompt_id}; compare candidates of one prompt")
    if gold_candidate_id is not None and gold_candidate_id not in candidate_ids:
        raise StoreError(f"the gold answer {gold_candidate_id} is not among the candidates {list(candidate_ids)}")


def _check_same_answer(session: Session, queue: Queue, gold_id: int, candidate_id: int | None) -> None:
    """Annotators were measured by the answer that is known: it is not exchanged under what they said."""
    known = get(session, gold_id).gold_candidate_id
    if known != candidate_id:
        raise StoreError(
            f"the gold question {gold_id} of queue {queue.name} has the answer {known}, and cannot have {candidate_id} "
            "as well; keep that answer, or make the question gold in another queue"
        )


@cache
def _its_comparison() -> Select[Comparison]:
    """The comparison of the `assignment_id`, locked. Built once, as all that every judgment needs."""
    its = select(Assignment.comparison_id).where(Assignment.id == bindparam("assignment_id")).scalar_subquery()
    return select(Comparison).where(Comparison.id == its).with_for_update(of=Comparison, key_share=True)


@cache
def _assignment() -> Select[Assignment]:
    return select(Assignment).where(Assignment.id == bindparam("assignment_id"))
