"""Evaluations: people choose between the answers of two versions to the same held-out prompts.

They are comparisons of purpose `evaluate` in queues of pairs, and nothing else: leased, shuffled and answered as any
other. Which two versions one is about is known through its candidates, and through nothing that an annotator is shown.
Training never reads this purpose (pipeline.pairs refuses it), and held-out prompts give no training rows at all.

What counts as a vote is said in evaluation_votes.py.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from . import audit, clock, comparison_rows, places, queues
from .columns import JsonObject
from .comparison_rows import NewComparison
from .errors import StoreError
from .evaluation_pairs import FIRST, SECOND, are_equal, ids_between, of_pairs
from .evaluation_votes import EvaluationVote, Matrix, matrix, votes
from .tables import Assignment, Candidate, Comparison, Prompt
from .upsert import lots
from .words import AnnotatorKind

__all__ = [
    "DEFAULT",
    "Asked",
    "EvaluationVote",
    "Matrix",
    "ask",
    "close",
    "matrix",
    "open_between",
    "open_count",
    "reopen",
    "votes",
]

DEFAULT = "evaluation"  # the queue, when no other is named


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of the pairs that two versions were to be compared on."""

    asked: int  # new comparisons that annotators are asked about
    identical: int  # new ones whose texts are equal: ties
    known: int  # that were stored before
    changed: int  # of the known, those of which another number of judgments is wanted now
    replaced: int  # about answers drawn otherwise before: nobody is asked about them any more


def ask(
    session: Session,
    queue_id: int,
    a: Sequence[Candidate],
    b: Sequence[Candidate],
    judges: int | None = None,
    actor: str = audit.SYSTEM,
) -> Asked:
    """Compare the answers of two versions, `a` and `b`, to the same held-out prompts, sample by sample.

    `judges` is the number of judgments owed by annotators of either kind for each pair: for all pairs the same, and
    fixed with the first judgment, because what the votes prove depends on it (stats/sequential.py). None leaves it as
    it is; at first it is the queue's overlap. Pairs are asked in the order of their prompts' content hash, a random
    one: whoever stops early has seen a random part. What the queue still asks about answers of the two versions that
    were drawn with other settings or another seed is closed. StoreError for candidates that do not belong together,
    and for another number of judges once there are judgments.
    """
    hashes = _checked(session, a, b)
    versions = a[0].version_id, b[0].version_id
    these = ids_between(*versions, a[0].sampling, a[0].seed).where(Comparison.queue_id == queue_id)
    owed = _judges(session, queue_id, these, judges)
    changed = _change_overlap(session, these, owed)
    texts = {candidate.id: candidate.text for candidate in (*a, *b)}
    wanted = [
        NewComparison(
            queue_id=queue_id,
            prompt_id=ours.prompt_id,
            candidate_ids=[ours.id, theirs.id],
            overlap=owed,
            purpose="evaluate",
            rank=int(hashes[ours.prompt_id][:6], 16),
        )
        for ours, theirs in zip(a, b, strict=True)
    ]
    stored = comparison_rows.store(session, wanted)
    equal = [
        row.id
        for row, pair in zip(stored, wanted, strict=True)
        if row.created and len({texts[candidate_id] for candidate_id in pair.candidate_ids}) == 1
    ]
    for lot in lots(sorted(equal)):
        _close(_hold(session, Comparison.id.in_(lot)))
    others = ids_between(*versions).where(Comparison.queue_id == queue_id, Comparison.id.not_in(these))
    replaced = _hold(session, Comparison.id.in_(others), Comparison.closed_at.is_(None))
    _close(replaced)
    new = sum(row.created for row in stored)
    result = Asked(new - len(equal), len(equal), len(stored) - new, changed, len(replaced))
    if new or changed or replaced:
        details = {"versions": list(versions), "judges": owed, **asdict(result)}
        audit.record(session, actor, "ask evaluation", "queue", queue_id, details)
    return result


def open_count(session: Session, a_id: int, b_id: int, kind: AnnotatorKind = "human") -> int:
    """Judgments still owed between two versions by annotators of `kind`, leased ones included, in every queue."""
    these = Comparison.id.in_(ids_between(a_id, b_id)), ~comparison_rows.is_retired()
    free = select(func.coalesce(func.sum(places.FREE[kind]), 0)).where(places.is_offered(kind), *these)
    leased = places.leased(kind).where(Comparison.closed_at.is_(None), *these)
    owed: int = session.scalars(free).one() + session.scalars(leased).one()
    return owed


def open_between(session: Session) -> list[tuple[int, int]]:
    """The versions, two by two and each time the older first, that people are asked to choose between now."""
    query = of_pairs(select(FIRST.version_id, SECOND.version_id)).where(places.is_offered("human")).distinct()
    return sorted({(min(first, second), max(first, second)) for first, second in session.execute(query)})


def close(session: Session, a_id: int, b_id: int, details: JsonObject, actor: str = audit.SYSTEM) -> int:
    """Ask nobody else about the two versions, and record why; how many judgments that saves, leased ones included.

    Judgments of those who hold a lease are still taken, and count. When nothing is open nothing is recorded.
    """
    saved = open_count(session, a_id, b_id)
    held = _hold(session, Comparison.id.in_(ids_between(a_id, b_id)), Comparison.closed_at.is_(None))
    if held:
        _close(held)
        told = {"versions": [a_id, b_id], "comparisons": len(held), "saved": saved, **details}
        audit.record(session, actor, "close evaluation", "version", a_id, told)
    return saved


def reopen(
    session: Session,
    a_id: int,
    b_id: int,
    sampling: JsonObject | None = None,
    seed: int | None = None,
    actor: str = audit.SYSTEM,
) -> int:
    """Ask again about what was closed, equal texts excepted; how many comparisons that are.

    `sampling` and `seed` take those alone that are about answers drawn so.
    """
    closed = ids_between(a_id, b_id, sampling, seed).where(~are_equal())
    held = _hold(session, Comparison.id.in_(closed), Comparison.closed_at.is_not(None))
    for comparison in held:
        comparison.closed_at = None
    if held:
        told = {"versions": [a_id, b_id], "comparisons": len(held)}
        audit.record(session, actor, "reopen evaluation", "version", a_id, told)
    return len(held)


def _checked(session: Session, a: Sequence[Candidate], b: Sequence[Candidate]) -> dict[int, str]:
    """The content hashes of the prompts, by id. StoreError says what keeps the candidates from being compared."""
    writers = {candidate.version_id for candidate in a}, {candidate.version_id for candidate in b}
    if any(len(ids) != 1 for ids in writers) or writers[0] == writers[1]:
        raise StoreError(
            f"an evaluation is between the answers of two versions, not of {sorted(writers[0])} and "
            f"{sorted(writers[1])}; name two"
        )
    drawn = {(candidate.sampling_sha256, candidate.seed) for candidate in (*a, *b)}
    if len(drawn) != 1:
        raise StoreError(f"the candidates were drawn with {len(drawn)} different settings or seeds; draw them alike")
    answered = [[(candidate.prompt_id, candidate.sample_index) for candidate in side] for side in (a, b)]
    if answered[0] != answered[1]:
        raise StoreError(
            f"the {len(a)} and {len(b)} candidates do not answer the same prompts sample by sample; draw them alike"
        )
    found: dict[int, Prompt] = {}
    for lot in lots(sorted({candidate.prompt_id for candidate in a})):
        found |= {prompt.id: prompt for prompt in session.scalars(select(Prompt).where(Prompt.id.in_(lot)))}
    taught = [prompt.id for prompt in found.values() if prompt.split != "heldout"]
    if taught:
        raise StoreError(f"prompt {min(taught)} is of the split train; versions are compared on held-out prompts")
    return {prompt.id: prompt.sha256 for prompt in found.values()}


def _judges(session: Session, queue_id: int, these: Select[int], judges: int | None) -> int:
    """How many judgments each pair is owed. StoreError when it cannot be as many as asked for."""
    before = session.scalar(select(func.max(Comparison.overlap)).where(Comparison.id.in_(these)))
    if judges is None:
        return queues.get(session, queue_id).overlap if before is None else before
    if judges < 1:
        raise StoreError(f"{judges} judges for each pair; at least one is wanted")
    judged = select(Assignment.id).where(Assignment.comparison_id.in_(these), Assignment.state == "done").limit(1)
    if before not in (None, judges) and session.scalar(judged) is not None:
        raise StoreError(
            f"{judges} judges for each pair, but {before} were wanted when the first judgment was given, and what the "
            "votes prove depends on it; leave it so, and take more prompts where more votes are needed"
        )
    return judges


def _change_overlap(session: Session, these: Select[int], judges: int) -> int:
    """Want so many judgments of each; how many comparisons wanted another number."""
    held = _hold(session, Comparison.id.in_(these), Comparison.overlap != judges)
    for comparison in held:
        comparison.overlap = judges
    places.recount(session, [comparison.id for comparison in held])
    return len(held)


def _hold(session: Session, *conditions: ColumnElement[bool]) -> Sequence[Comparison]:
    """Lock comparisons, several at a time and therefore in the order of their ids (see places.py)."""
    query = select(Comparison).where(*conditions).order_by(Comparison.id).with_for_update(key_share=True)
    return session.scalars(query, execution_options={"populate_existing": True}).all()


def _close(held: Sequence[Comparison]) -> None:
    now = clock.now()
    for comparison in held:
        comparison.closed_at = comparison.closed_at or now
