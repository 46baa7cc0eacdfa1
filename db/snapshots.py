"""Snapshots: frozen sets of judgments that runs train on."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from . import audit
from .columns import JsonObject
from .errors import StoreError
from .tables import Annotator, Assignment, Judgment, Snapshot, SnapshotJudgment
from .upsert import lots, upsert

_SHORTEST_PREFIX = 6  # hex digits; shorter ones are read as an id


@dataclass(frozen=True, slots=True)
class Stored:
    """The row of a snapshot; `created` is False when one of the same content was there already."""

    id: int
    created: bool


def store(
    session: Session,
    sha256: str,
    judgment_ids: Sequence[int],
    policy: JsonObject,
    counts: JsonObject,
    row_count: int,
    actor: str = audit.SYSTEM,
) -> Stored:
    """Freeze a set of judgments under the sha256 of its row bytes; equal bytes are one snapshot.

    StoreError when one of the annotators has withdrawn meanwhile.
    """
    statement = upsert(session, Snapshot).on_conflict_do_nothing(index_elements=["sha256"]).returning(Snapshot.id)
    snapshot_id = session.scalar(statement.values(sha256=sha256, policy=policy, counts=counts, row_count=row_count))
    if snapshot_id is None:
        return Stored(session.scalars(select(Snapshot.id).where(Snapshot.sha256 == sha256)).one(), created=False)
    members = sorted(set(judgment_ids))
    _refuse_withdrawn(session, members)
    if members:
        session.execute(
            insert(SnapshotJudgment),
            [{"snapshot_id": snapshot_id, "judgment_id": judgment_id} for judgment_id in members],
        )
    details = {"sha256": sha256, "judgments": len(members), "rows": row_count}
    audit.record(session, actor, "store", "snapshot", snapshot_id, details)
    return Stored(snapshot_id, created=True)


def get(session: Session, id_or_prefix: int | str) -> Snapshot:
    """A snapshot by its id, or by the first 6 or more hex digits of its sha256.

    StoreError when there is none, or when the digits fit several.
    """
    text = str(id_or_prefix).lower()
    if isinstance(id_or_prefix, int) or (text.isdecimal() and len(text) < _SHORTEST_PREFIX):
        found = [session.get(Snapshot, int(id_or_prefix))]
    elif re.fullmatch(rf"[0-9a-f]{{{_SHORTEST_PREFIX},64}}", text):
        found = list(session.scalars(select(Snapshot).where(Snapshot.sha256.startswith(text)).limit(2)))
    else:
        raise StoreError(f"{id_or_prefix} is no snapshot; give its id or {_SHORTEST_PREFIX} digits of its sha256")
    match found:
        case [Snapshot() as snapshot]:
            return snapshot
        case [_, _]:
            raise StoreError(f"several snapshots begin with {text}; give more digits")
        case _:
            raise StoreError(f"there is no snapshot {id_or_prefix}; see the list of snapshots")


def judgment_ids(session: Session, snapshot_id: int) -> list[int]:
    """The ids of the judgments in the snapshot, ascending."""
    query = select(SnapshotJudgment.judgment_id).where(SnapshotJudgment.snapshot_id == snapshot_id)
    return list(session.scalars(query.order_by(SnapshotJudgment.judgment_id)))


def list_snapshots(session: Session) -> list[Snapshot]:
    """Every snapshot, newest first."""
    return list(session.scalars(select(Snapshot).order_by(Snapshot.id.desc())))


def _refuse_withdrawn(session: Session, members: Sequence[int]) -> None:
    query = (
        select(Annotator.name)
        .join(Assignment, Assignment.annotator_id == Annotator.id)
        .join(Judgment, Judgment.assignment_id == Assignment.id)
        .where(Annotator.withdrawn_at.is_not(None))
    )
    for lot in lots(members):
        name = session.scalars(query.where(Judgment.id.in_(lot)).limit(1)).first()
        if name is not None:
            raise StoreError(f"annotator {name} has withdrawn since these rows were made; make the snapshot anew")
