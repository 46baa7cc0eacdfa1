"""Annotators: people, and simulated annotators that are always marked as such."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from . import audit, clock, notifications, places
from .columns import JsonObject
from .errors import StoreError
from .tables import Annotator, Assignment, Judgment, Login, Snapshot, SnapshotJudgment, Version
from .upsert import upsert
from .words import AnnotatorKind, AnnotatorRole

LONGEST_NAME = 60  # characters


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What became stale when an annotator withdrew, in the order of the rows."""

    snapshot_ids: list[int]
    version_ids: list[int]


def ensure(
    session: Session,
    name: str,
    kind: AnnotatorKind,
    taste: JsonObject | None = None,
    role: AnnotatorRole = "annotator",
) -> Annotator:
    """The annotator of that name, made if there is none.

    StoreError when there is one of another kind or another taste: what they said would be mistaken for it. The role
    of an existing annotator is left as it is.
    """
    if (kind == "simulated") != (taste is not None):
        raise StoreError(
            f"annotator {name} is {kind} with taste {taste!r}; a simulated annotator has one, no other has"
        )
    statement = upsert(session, Annotator).on_conflict_do_nothing(index_elements=["name"])
    session.execute(statement.values(name=name, kind=kind, role=role, taste=taste))
    annotator = by_name(session, name)
    if (annotator.kind, annotator.taste) != (kind, taste):
        raise StoreError(
            f"annotator {name} is {annotator.kind} with taste {annotator.taste!r} already, "
            f"not {kind} with {taste!r}; choose another name"
        )
    return annotator


def add(session: Session, name: str, role: AnnotatorRole = "annotator", actor: str = audit.SYSTEM) -> Annotator:
    """A new person. StoreError when the name is taken, blank, too long or has characters that cannot be seen."""
    if name != clean_name(name) or not name:
        raise StoreError(
            f"{name!r} is no name for an annotator; use 1 to {LONGEST_NAME} visible characters, "
            "with no space at either end"
        )
    if find(session, name) is not None:
        raise StoreError(f"there is an annotator {name} already; choose another name")
    annotator = ensure(session, name, "human", role=role)
    audit.record(session, actor, "add", "annotator", annotator.id, {"role": role})
    return annotator


def clean_name(name: str) -> str:
    """The name as a store can keep it and a person can read it: no control characters, not too long."""
    return "".join(character for character in name if character.isprintable()).strip()[:LONGEST_NAME].strip()


def get(session: Session, annotator_id: int) -> Annotator:
    """The annotator; StoreError when there is none."""
    annotator = session.get(Annotator, annotator_id)
    if annotator is None:
        raise _missing(annotator_id)
    return annotator


def find(session: Session, name: str) -> Annotator | None:
    """The annotator of that name, if there is one."""
    return session.scalars(select(Annotator).where(Annotator.name == name)).one_or_none()


def by_name(session: Session, name: str) -> Annotator:
    """The annotator of that name; StoreError with the known names when there is none."""
    annotator = find(session, name)
    if annotator is None:
        known = ", ".join(session.scalars(select(Annotator.name).order_by(Annotator.name))) or "nobody yet"
        raise StoreError(f"there is no annotator {name}; known: {known}")
    return annotator


def list_annotators(session: Session) -> list[Annotator]:
    """Every annotator, disabled and withdrawn ones too, by name."""
    return list(session.scalars(select(Annotator).order_by(Annotator.name)))


def active(session: Session, annotator_id: int) -> Annotator:
    """The annotator, locked against a second act of theirs at once; StoreError when disabled or withdrawn.

    The lock lasts until the end of the transaction. Who also locks a comparison takes this lock first.
    """
    annotator = session.get(Annotator, annotator_id, with_for_update={"key_share": True}, populate_existing=True)
    if annotator is None:
        raise _missing(annotator_id)
    return usable(annotator)


def usable(annotator: Annotator) -> Annotator:
    """The annotator themselves; StoreError when disabled or withdrawn."""
    if annotator.withdrawn_at is not None:
        raise StoreError(f"annotator {annotator.name} has withdrawn and gives no more judgments; use another account")
    if annotator.disabled_at is not None:
        raise StoreError(f"annotator {annotator.name} is disabled; ask a manager to give them another account")
    return annotator


def require_role(session: Session, annotator_id: int, role: AnnotatorRole) -> Annotator:
    """The annotator; StoreError unless they may act, and their role is at least this one."""
    annotator = usable(get(session, annotator_id))
    ranks: tuple[AnnotatorRole, ...] = get_args(AnnotatorRole)  # from the least to the most
    if ranks.index(annotator.role) < ranks.index(role):
        raise StoreError(f"this is for the role {role}, and {annotator.name} is {annotator.role}; ask an admin")
    return annotator


def set_role(session: Session, annotator_id: int, role: AnnotatorRole, actor: str = audit.SYSTEM) -> Annotator:
    """Give the annotator this role, from their next act on.

    StoreError for a simulated one, which acts for nobody, and where no active admin would be left.
    """
    annotator = get(session, annotator_id)
    if annotator.kind == "simulated":
        raise StoreError(f"annotator {annotator.name} is simulated and can have no other role; choose a person")
    if annotator.role != role:
        _leave_an_admin(session, annotator)
        details = {"from": annotator.role, "to": role}
        annotator.role = role
        audit.record(session, actor, "set role", "annotator", annotator.id, details)
    return annotator


def disable(session: Session, annotator_id: int, actor: str = audit.SYSTEM) -> Annotator:
    """Let the annotator give no more judgments, and log them out; what they gave counts on.

    Disabling twice changes nothing. StoreError where no active admin would be left.
    """
    annotator = get(session, annotator_id)
    if annotator.disabled_at is None:
        _leave_an_admin(session, annotator)
        annotator.disabled_at = clock.now()
        end_logins(session, annotator.id)
        audit.record(session, actor, "disable", "annotator", annotator.id)
    return annotator


def enable(session: Session, annotator_id: int, actor: str = audit.SYSTEM) -> Annotator:
    """Let a disabled annotator act again; they have to log in anew. Enabling twice changes nothing."""
    annotator = get(session, annotator_id)
    if annotator.disabled_at is not None:
        annotator.disabled_at = None
        audit.record(session, actor, "enable", "annotator", annotator.id)
    return annotator


def end_logins(session: Session, annotator_id: int) -> None:
    """Log the annotator out in every browser."""
    query = update(Login).where(Login.annotator_id == annotator_id, Login.revoked_at.is_(None))
    session.execute(query.values(revoked_at=clock.now()))


def withdraw(session: Session, annotator_id: int, actor: str = audit.SYSTEM) -> Withdrawal:
    """Take back all that the annotator said, and log them out.

    Their judgments leave every future snapshot, and the places they filled are owed again. Snapshots made from them,
    versions trained on those and all their descendants become stale, with the reason. Withdrawing twice changes
    nothing; the answer then names what became stale since. StoreError where no active admin would be left.
    """
    annotator = get(session, annotator_id)
    if annotator.withdrawn_at is None:
        _leave_an_admin(session, annotator)
        annotator.withdrawn_at = clock.now()
        end_logins(session, annotator.id)
        places.release_all_of(session, annotator.id)
    reason = f"annotator {annotator.name} withdrew on {annotator.withdrawn_at:%Y-%m-%d}"
    snapshots = _snapshots_from(session, annotator_id)
    versions = _versions_from(session, [snapshot.id for snapshot in snapshots])
    withdrawal = Withdrawal(_mark(snapshots, reason), _mark(versions, reason))
    if withdrawal.version_ids:
        notifications.became_stale(session, withdrawal.version_ids)
    details = {"stale_snapshots": withdrawal.snapshot_ids, "stale_versions": withdrawal.version_ids}
    audit.record(session, actor, "withdraw", "annotator", annotator.id, details)
    return withdrawal


def _leave_an_admin(session: Session, leaving: Annotator) -> None:
    """Hold every active admin, and refuse that the last of them stops being one.

    Two admins who send each other away at the same moment wait here for one another: the second finds itself the last.
    """
    session.flush()
    active = (Annotator.role == "admin", Annotator.disabled_at.is_(None), Annotator.withdrawn_at.is_(None))
    query = select(Annotator.id).where(*active).order_by(Annotator.id).with_for_update(key_share=True)
    if session.scalars(query).all() == [leaving.id]:
        raise StoreError(
            f"{leaving.name} is the last active admin, and nobody could change people any more; "
            "give somebody else the role admin first"
        )


def _missing(annotator_id: int) -> StoreError:
    return StoreError(f"there is no annotator {annotator_id}; see the list of annotators")


def _snapshots_from(session: Session, annotator_id: int) -> list[Snapshot]:
    theirs = (
        select(SnapshotJudgment.snapshot_id)
        .join(Judgment, Judgment.id == SnapshotJudgment.judgment_id)
        .join(Assignment, Assignment.id == Judgment.assignment_id)
        .where(Assignment.annotator_id == annotator_id)
    )
    return list(session.scalars(select(Snapshot).where(Snapshot.id.in_(theirs)).order_by(Snapshot.id)))


def _versions_from(session: Session, snapshot_ids: list[int]) -> list[Version]:
    """The versions trained on these snapshots, and their descendants."""
    trained = select(Version.id).where(Version.snapshot_id.in_(snapshot_ids)).cte(recursive=True)
    lineage = trained.union(select(Version.id).join(trained, Version.parent_id == trained.c.id))
    return list(session.scalars(select(Version).where(Version.id.in_(select(lineage.c.id))).order_by(Version.id)))


def _mark(rows: Iterable[Snapshot] | Iterable[Version], reason: str) -> list[int]:
    """The ids of the rows that become stale now; one that is stale already keeps its first reason."""
    fresh = [row for row in rows if row.stale_reason is None]
    for row in fresh:
        row.stale_reason = reason
    return [row.id for row in fresh]
