"""Evaluations: people choose between the answers of two versions to the same held-out prompts.

They are comparisons of purpose `evaluate` in queues of pairs, and nothing else: leased, shuffled and answered as any
other. Which two versions one is about is known through its candidates, and through nothing that an annotator is shown.
Training never reads this purpose (pipeline.pairs refuses it), and held-out prompts give no training rows at all.

What counts as a vote, everywhere: the newest of each chain of corrections, of nobody withdrawn, by annotators of one
kind. A tie is a half; so is "both bad", which is told apart. A skip and a flag are no votes. Two equal texts are a tie
that nobody is asked about: as many ties as judgments would be owed, from the moment at which the pair was stored.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from . import audit, clock, comparison_rows, judgment_rows, places
from .columns import JsonObject
from .comparison_rows import NewComparison
from .errors import StoreError
from .evaluation_pairs import FIRST, SECOND, are_equal, drawn_with, first_won, ids_between, is_between, of_pairs
from .tables import Annotator, Assignment, Candidate, Comparison, Judgment, Prompt, Version
from .upsert import lots
from .votes import SILENT
from .words import AnnotatorKind

DEFAULT = "evaluation"  # the queue, when no other is named


@dataclass(frozen=True, slots=True)
class EvaluationVote:
    """What one annotator said about one pair; the outcome is that of the version asked about first."""

    comparison_id: int
    prompt_id: int
    category: str
    annotator_id: int | None  # None: the texts are equal, and nobody was asked
    outcome: float  # 1 won, 0.5 tied, 0 lost
    both_bad: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of the pairs that two versions were to be compared on."""

    asked: int  # new comparisons that annotators are asked about
    identical: int  # new ones whose texts are equal: ties
    known: int  # that were stored before
    raised: int  # of the known, those that more judgments are wanted of now


@dataclass(frozen=True, slots=True)
class Matrix:
    """Votes among the versions that were ever voted on: `wins[i][j]` is what i won against j, a tie a half to each."""

    version_ids: list[int]  # ascending
    names: list[str]
    wins: list[list[float]]


def ask(
    session: Session,
    queue_id: int,
    a: Sequence[Candidate],
    b: Sequence[Candidate],
    judges: int = 1,
    actor: str = audit.SYSTEM,
) -> Asked:
    """Compare the answers of two versions, `a` and `b`, to the same held-out prompts, sample by sample.

    `judges` is the number of judgments owed by annotators of either kind for each pair; of a pair that is stored
    already it is raised to that, and never lowered. Pairs are asked in the order of their prompts' content hash, a
    random one: whoever stops early has seen a random part. StoreError for candidates that do not belong together.
    """
    if judges < 1:
        raise StoreError(f"{judges} judges for each pair; at least one is wanted")
    hashes = _checked(session, a, b)
    texts = {candidate.id: candidate.text for candidate in (*a, *b)}
    wanted = [
        NewComparison(
            queue_id=queue_id,
            prompt_id=ours.prompt_id,
            candidate_ids=[ours.id, theirs.id],
            overlap=judges,
            purpose="evaluate",
            rank=int(hashes[ours.prompt_id][:6], 16),
        )
        for ours, theirs in zip(a, b, strict=True)
    ]
    stored = comparison_rows.store(session, wanted)
    new = [row.id for row in stored if row.created]
    known = [row.id for row in stored if not row.created]
    equal = [
        row.id
        for row, pair in zip(stored, wanted, strict=True)
        if row.created and len({texts[candidate_id] for candidate_id in pair.candidate_ids}) == 1
    ]
    for lot in lots(sorted(equal)):
        _close(_hold(session, Comparison.id.in_(lot)))
    raised = _raise_overlap(session, sorted(known), judges)
    result = Asked(asked=len(new) - len(equal), identical=len(equal), known=len(known), raised=raised)
    if new or raised:
        details = {"versions": [a[0].version_id, b[0].version_id], "judges": judges, **asdict(result)}
        audit.record(session, actor, "ask evaluation", "queue", queue_id, details)
    return result


def votes(
    session: Session, a_id: int, b_id: int, kind: AnnotatorKind = "human", sampling: JsonObject | None = None
) -> list[EvaluationVote]:
    """The votes between two versions, in the order in which they were given; `sampling` takes those on answers drawn
    with these settings alone."""
    between = [is_between(a_id, b_id), *drawn_with(sampling)]
    said = (
        of_pairs(
            select(
                Comparison.id,
                Comparison.prompt_id,
                Prompt.category,
                Assignment.annotator_id,
                case((FIRST.version_id == a_id, first_won()), else_=1 - first_won()),
                Judgment.choice == "both_bad",
                Judgment.created_at,
            )
        )
        .join(Assignment, Assignment.comparison_id == Comparison.id)
        .join(Annotator, Annotator.id == Assignment.annotator_id)
        .join(Judgment, Judgment.assignment_id == Assignment.id)
        .where(*between, *_counts(kind))
        .order_by(Judgment.created_at, Judgment.id)
    )
    unasked = of_pairs(
        select(Comparison.id, Comparison.prompt_id, Prompt.category, Comparison.created_at, Comparison.overlap)
    ).where(*between, are_equal())
    ties = [
        EvaluationVote(comparison_id, prompt_id, category, None, 0.5, False, at)
        for comparison_id, prompt_id, category, at, overlap in session.execute(unasked)
        for _ in range(overlap)
    ]
    return sorted([*ties, *(EvaluationVote(*row) for row in session.execute(said))], key=lambda vote: vote.at)


def matrix(session: Session, kind: AnnotatorKind = "human") -> Matrix:
    """All votes among all versions, for a Bradley-Terry model."""
    versions = FIRST.version_id, SECOND.version_id
    said = (
        of_pairs(select(*versions, func.sum(first_won()), func.count()))
        .join(Assignment, Assignment.comparison_id == Comparison.id)
        .join(Annotator, Annotator.id == Assignment.annotator_id)
        .join(Judgment, Judgment.assignment_id == Assignment.id)
        .where(FIRST.version_id != SECOND.version_id, *_counts(kind))
        .group_by(*versions)
    )
    unasked = (
        of_pairs(select(*versions, func.sum(Comparison.overlap * 0.5), func.sum(Comparison.overlap)))
        .where(FIRST.version_id != SECOND.version_id, are_equal())
        .group_by(*versions)
    )
    counted = [*session.execute(said), *session.execute(unasked)]
    ids = sorted({version_id for first, second, _, _ in counted for version_id in (first, second)})
    names = {i: name for i, name in session.execute(select(Version.id, Version.name).where(Version.id.in_(ids)))}
    place = {version_id: index for index, version_id in enumerate(ids)}
    wins = [[0.0] * len(ids) for _ in ids]
    for first, second, won, count in counted:
        wins[place[first]][place[second]] += float(won)
        wins[place[second]][place[first]] += count - float(won)
    return Matrix(ids, [names[version_id] for version_id in ids], wins)


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


def reopen(session: Session, a_id: int, b_id: int, actor: str = audit.SYSTEM) -> int:
    """Ask again about what was closed, equal texts excepted; how many comparisons that are."""
    closed = ids_between(a_id, b_id).where(~are_equal())
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
    if not a or any(len(ids) != 1 for ids in writers) or writers[0] == writers[1]:
        raise StoreError(
            f"an evaluation is between the answers of two versions, not of {sorted(writers[0])} and "
            f"{sorted(writers[1])}; name two"
        )
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


def _raise_overlap(session: Session, comparison_ids: Sequence[int], judges: int) -> int:
    """Want at least so many judgments of each; how many comparisons wanted fewer."""
    raised = 0
    for lot in lots(comparison_ids):
        held = _hold(session, Comparison.id.in_(lot), Comparison.overlap < judges)
        for comparison in held:
            comparison.overlap = judges
        places.recount(session, [comparison.id for comparison in held])
        raised += len(held)
    return raised


def _hold(session: Session, *conditions: ColumnElement[bool]) -> Sequence[Comparison]:
    """Lock comparisons, several at a time and therefore in the order of their ids (see places.py)."""
    query = select(Comparison).where(*conditions).order_by(Comparison.id).with_for_update(key_share=True)
    return session.scalars(query, execution_options={"populate_existing": True}).all()


def _close(held: Sequence[Comparison]) -> None:
    now = clock.now()
    for comparison in held:
        comparison.closed_at = comparison.closed_at or now


def _counts(kind: AnnotatorKind) -> list[ColumnElement[bool]]:
    """The judgment is a vote."""
    return [
        ~are_equal(),
        Annotator.kind == kind,
        Annotator.withdrawn_at.is_(None),
        Judgment.choice.not_in(SILENT),
        judgment_rows.is_newest(),
    ]
