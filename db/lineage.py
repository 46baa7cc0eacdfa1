"""Lineage: what one judgment was about, and what was made from it. "What taught it that?" is answered from here."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from .columns import Message
from .errors import StoreError
from .tables import (
    Annotator,
    Assignment,
    Candidate,
    Comparison,
    Judgment,
    Promotion,
    Prompt,
    Queue,
    Round,
    Run,
    Snapshot,
    SnapshotJudgment,
    Version,
)
from .words import (
    AnnotatorKind,
    Choice,
    FinishReason,
    PromotionKind,
    Purpose,
    QueueKind,
    RunState,
    Split,
    VersionKind,
)


@dataclass(frozen=True, slots=True)
class ShownCandidate:
    """A candidate of the comparison."""

    id: int
    text: str
    version: str  # that wrote it
    version_stale: str | None
    token_count: int
    finish_reason: FinishReason
    preferred: bool


@dataclass(frozen=True, slots=True)
class Saying:
    """One link of the chain of corrections."""

    judgment_id: int
    choice: Choice
    preferred_id: int | None
    ranking: list[list[int]] | None
    strength: int | None
    ratings: dict[str, int] | None
    written: str | None
    reason: str | None
    rationale: str
    response_ms: int | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SnapshotNode:
    id: int
    sha256: str
    row_count: int
    created_at: datetime
    stale_reason: str | None


@dataclass(frozen=True, slots=True)
class RunNode:
    id: int
    stage: str
    state: RunState
    snapshot_id: int | None
    started_at: datetime | None


@dataclass(frozen=True, slots=True)
class VersionNode:
    """A version that learned from the judgment: `direct` from a snapshot that holds it, otherwise from an ancestor."""

    id: int
    name: str
    kind: VersionKind
    parent: str | None
    run_id: int | None
    direct: bool
    stale_reason: str | None
    is_current: bool


@dataclass(frozen=True, slots=True)
class PromotionNode:
    kind: PromotionKind
    version: str
    actor: str
    forced: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Lineage:
    """Everything about one judgment, from the prompt to the versions that stand on it."""

    said: list[Saying]  # oldest first; the last one counts
    annotator_id: int
    annotator: str
    annotator_kind: AnnotatorKind
    withdrawn_at: datetime | None
    queue: str
    queue_kind: QueueKind
    comparison_id: int
    purpose: Purpose
    gold_candidate_id: int | None
    round: str | None
    prompt_id: int
    messages: list[Message]
    split: Split
    category: str
    source: str
    retired_at: datetime | None
    candidates: list[ShownCandidate]  # as displayed, left to right
    snapshots: list[SnapshotNode]
    runs: list[RunNode]  # that read one of the snapshots
    versions: list[VersionNode]
    promotions: list[PromotionNode]  # to one of the versions


@dataclass(frozen=True, slots=True)
class Dependents:
    """What stands on all that one annotator said."""

    judgments: int  # assignments that they judged
    snapshots: list[SnapshotNode]
    versions: list[VersionNode]


def of_judgment(session: Session, judgment_id: int) -> Lineage:
    """The lineage of the judgment's whole chain of corrections, whichever of them is named; StoreError for none."""
    named = session.get(Judgment, judgment_id)
    if named is None:
        raise StoreError(f"there is no judgment {judgment_id}; see the list of judgments")
    assignment = session.get_one(Assignment, named.assignment_id)
    annotator = session.get_one(Annotator, assignment.annotator_id)
    comparison = session.get_one(Comparison, assignment.comparison_id)
    queue = session.get_one(Queue, comparison.queue_id)
    prompt = session.get_one(Prompt, comparison.prompt_id)
    round_ = None if comparison.round_id is None else session.get_one(Round, comparison.round_id)
    chain = list(session.scalars(select(Judgment).where(Judgment.assignment_id == assignment.id).order_by(Judgment.id)))
    snapshots = _snapshots(session, select(Judgment.id).where(Judgment.assignment_id == assignment.id))
    versions = _versions(session, [snapshot.id for snapshot in snapshots])
    return Lineage(
        said=[_saying(judgment) for judgment in chain],
        annotator_id=annotator.id,
        annotator=annotator.name,
        annotator_kind=annotator.kind,
        withdrawn_at=annotator.withdrawn_at,
        queue=queue.name,
        queue_kind=queue.kind,
        comparison_id=comparison.id,
        purpose=comparison.purpose,
        gold_candidate_id=comparison.gold_candidate_id,
        round=None if round_ is None else f"{round_.loop} {round_.number}",
        prompt_id=prompt.id,
        messages=prompt.messages,
        split=prompt.split,
        category=prompt.category,
        source=prompt.source,
        retired_at=prompt.retired_at,
        candidates=_candidates(session, assignment.display_order, chain[-1].preferred_id),
        snapshots=snapshots,
        runs=_runs(session, [snapshot.id for snapshot in snapshots]),
        versions=versions,
        promotions=_promotions(session, [version.id for version in versions]),
    )


def of_annotator(session: Session, annotator_id: int) -> Dependents:
    """What would become stale, or is stale, when the annotator takes back what they said."""
    theirs = (
        select(Judgment.id)
        .join(Assignment, Assignment.id == Judgment.assignment_id)
        .where(Assignment.annotator_id == annotator_id)
    )
    first = theirs.where(Judgment.supersedes_id.is_(None)).subquery()
    snapshots = _snapshots(session, theirs)
    return Dependents(
        judgments=session.scalars(select(func.count()).select_from(first)).one(),
        snapshots=snapshots,
        versions=_versions(session, [snapshot.id for snapshot in snapshots]),
    )


def _saying(judgment: Judgment) -> Saying:
    return Saying(
        judgment_id=judgment.id,
        choice=judgment.choice,
        preferred_id=judgment.preferred_id,
        ranking=judgment.ranking,
        strength=judgment.strength,
        ratings=judgment.ratings,
        written=judgment.written,
        reason=judgment.reason,
        rationale=judgment.rationale,
        response_ms=judgment.response_ms,
        created_at=judgment.created_at,
    )


def _candidates(session: Session, display_order: list[int], preferred_id: int | None) -> list[ShownCandidate]:
    query = (
        select(Candidate, Version)
        .join(Version, Version.id == Candidate.version_id)
        .where(Candidate.id.in_(display_order))
    )
    shown = [
        ShownCandidate(
            id=candidate.id,
            text=candidate.text,
            version=version.name,
            version_stale=version.stale_reason,
            token_count=candidate.token_count,
            finish_reason=candidate.finish_reason,
            preferred=candidate.id == preferred_id,
        )
        for candidate, version in session.execute(query)
    ]
    return sorted(shown, key=lambda candidate: display_order.index(candidate.id))


def _snapshots(session: Session, judgment_ids: Select[int]) -> list[SnapshotNode]:
    holding = select(SnapshotJudgment.snapshot_id).where(SnapshotJudgment.judgment_id.in_(judgment_ids))
    query = select(Snapshot).where(Snapshot.id.in_(holding)).order_by(Snapshot.id)
    return [
        SnapshotNode(row.id, row.sha256, row.row_count, row.created_at, row.stale_reason)
        for row in session.scalars(query)
    ]


def _runs(session: Session, snapshot_ids: list[int]) -> list[RunNode]:
    query = select(Run).where(Run.snapshot_id.in_(snapshot_ids)).order_by(Run.id)
    return [RunNode(run.id, run.stage, run.state, run.snapshot_id, run.started_at) for run in session.scalars(query)]


def _versions(session: Session, snapshot_ids: list[int]) -> list[VersionNode]:
    """The versions trained on these snapshots, and their descendants."""
    trained = select(Version.id).where(Version.snapshot_id.in_(snapshot_ids)).cte(recursive=True)
    lineage = trained.union(select(Version.id).join(trained, Version.parent_id == trained.c.id))
    current = session.scalar(select(Promotion.version_id).order_by(Promotion.id.desc()).limit(1))
    found = list(session.scalars(select(Version).where(Version.id.in_(select(lineage.c.id))).order_by(Version.id)))
    parents = select(Version.id, Version.name).where(Version.id.in_({version.parent_id for version in found}))
    name_of = {version_id: name for version_id, name in session.execute(parents)}
    return [
        VersionNode(
            id=version.id,
            name=version.name,
            kind=version.kind,
            parent=None if version.parent_id is None else name_of[version.parent_id],
            run_id=version.run_id,
            direct=version.snapshot_id in snapshot_ids,
            stale_reason=version.stale_reason,
            is_current=version.id == current,
        )
        for version in found
    ]


def _promotions(session: Session, version_ids: list[int]) -> list[PromotionNode]:
    query = (
        select(Promotion, Version.name)
        .join(Version, Version.id == Promotion.version_id)
        .where(Promotion.version_id.in_(version_ids))
        .order_by(Promotion.id)
    )
    return [
        PromotionNode(promotion.kind, name, promotion.actor, promotion.forced, promotion.created_at)
        for promotion, name in session.execute(query)
    ]
