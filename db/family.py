"""Versions as a family: of each its parent, what made it and who taught it, and what has become of it since."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from . import versions
from .tables import Annotator, Assignment, Judgment, Promotion, Run, SnapshotJudgment, Version
from .words import AnnotatorKind, VersionKind


@dataclass(frozen=True, slots=True)
class Taught:
    """What a snapshot holds: how many judgments, by how many annotators of a kind."""

    kind: AnnotatorKind
    judgments: int
    annotators: int


@dataclass(frozen=True, slots=True)
class Member:
    """A version and where it comes from."""

    id: int
    name: str
    kind: VersionKind
    base_model: str
    parent_id: int | None
    stage: str | None  # of the run that made it; none for a base
    run_id: int | None
    snapshot_id: int | None
    reward_model: str | None  # that the run optimised against
    taught: tuple[Taught, ...]  # by the snapshot; people first
    stale_reason: str | None
    adapter_removed: bool  # it cannot answer any more
    is_current: bool
    rolled_back: bool  # was current, and the newest rollback that concerns it took that away
    created_at: datetime


def members(session: Session) -> list[Member]:
    """Every version, oldest first."""
    current = versions.current(session)
    taught = _taught(session)
    undone = _rolled_back(versions.history(session))
    query = select(Version, Run).outerjoin(Run, Run.id == Version.run_id).order_by(Version.id)
    return [
        Member(
            id=version.id,
            name=version.name,
            kind=version.kind,
            base_model=version.base_model,
            parent_id=version.parent_id,
            stage=None if run is None else run.stage,
            run_id=version.run_id,
            snapshot_id=version.snapshot_id,
            reward_model=None if run is None else _reward_model(run),
            taught=taught.get(version.snapshot_id, ()) if version.snapshot_id is not None else (),
            stale_reason=version.stale_reason,
            adapter_removed=version.adapter_removed_at is not None,
            is_current=current is not None and current.id == version.id,
            rolled_back=version.id in undone,
            created_at=version.created_at,
        )
        for version, run in session.execute(query)
    ]


def _taught(session: Session) -> dict[int, tuple[Taught, ...]]:
    """By snapshot. A judgment and its correction are one."""
    query = (
        select(
            SnapshotJudgment.snapshot_id,
            Annotator.kind,
            func.count(Assignment.id.distinct()),
            func.count(Annotator.id.distinct()),
        )
        .join(Judgment, Judgment.id == SnapshotJudgment.judgment_id)
        .join(Assignment, Assignment.id == Judgment.assignment_id)
        .join(Annotator, Annotator.id == Assignment.annotator_id)
        .group_by(SnapshotJudgment.snapshot_id, Annotator.kind)
        .order_by(SnapshotJudgment.snapshot_id, Annotator.kind)
    )
    found: dict[int, tuple[Taught, ...]] = {}
    for snapshot_id, kind, judgments, annotators in session.execute(query):
        found[snapshot_id] = (*found.get(snapshot_id, ()), Taught(kind, judgments, annotators))
    return found


def _reward_model(run: Run) -> str | None:
    """As the runs of RL record it: PPO one judge, RLOO and GRPO a weight for each of their rewards."""
    rewards = [run.config.get("reward"), *(run.config.get("rewards") or {})]
    named = [name for name in rewards if isinstance(name, str) and name.startswith("reward:")]
    return named[0].removeprefix("reward:") if named else None


def _rolled_back(moves: list[Promotion]) -> set[int]:
    """Versions from which `current` was moved back, and to which no promotion has returned."""
    undone: set[int] = set()
    for move in moves:
        if move.kind == "rollback" and move.previous_id is not None:
            undone.add(move.previous_id)
        undone.discard(move.version_id)
    return undone
