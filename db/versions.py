"""Versions of the policy and of reward models, and the pointer `current` that promotions move."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from . import audit, notifications
from .columns import JsonObject
from .errors import StoreError
from .tables import Promotion, Snapshot, Version
from .upsert import upsert
from .words import VersionKind

_LETTER: dict[VersionKind, str] = {"policy": "v", "reward": "r"}


def ensure_base(session: Session, base_model: str, base_sha256: str, actor: str = audit.SYSTEM) -> Version:
    """The bare base policy of these weights, made if there is none.

    The first base is "v0"; a base of other weights is named by them, "v0-" and eight digits of their sha256.
    """
    bare = select(Version).where(
        Version.kind == "policy", Version.adapter_sha256.is_(None), Version.base_sha256 == base_sha256
    )
    # Two processes may both find nothing; the name is unique, so the second insert waits, gives way, and finds it.
    for name in ("v0", f"v0-{base_sha256[:8]}"):
        found = session.scalars(bare).one_or_none()
        if found is not None:
            return found
        statement = upsert(session, Version).on_conflict_do_nothing(index_elements=["name"]).returning(Version.id)
        values = {"name": name, "kind": "policy", "base_model": base_model, "base_sha256": base_sha256}
        version_id = session.scalar(statement.values(values))
        if version_id is not None:
            audit.record(session, actor, "create", "version", version_id, {"name": name, "base_model": base_model})
            return get(session, version_id)
    return session.scalars(bare).one()


def next_name(session: Session, kind: VersionKind) -> str:
    """The first name of the kind that is higher than all: "v1", "v2"… for a policy, "r1", "r2"… for a reward model."""
    names = session.scalars(select(Version.name).where(Version.kind == kind))
    numbers = [int(name[1:]) for name in names if name[0] == _LETTER[kind] and name[1:].isdecimal()]
    return f"{_LETTER[kind]}{max(numbers, default=0) + 1}"


def create(
    session: Session,
    kind: VersionKind,
    name: str,
    base_model: str,
    base_sha256: str,
    adapter_path: str,
    adapter_sha256: str,
    parent_id: int | None,
    run_id: int | None,
    snapshot_id: int | None,
    actor: str = audit.SYSTEM,
) -> Version:
    """A trained version; `adapter_path` is relative to the artifacts folder.

    A stale parent or snapshot makes it stale from the start. StoreError when the name is taken.
    """
    taken = session.scalars(select(Version.id).where(Version.name == name)).one_or_none()
    if taken is not None:
        raise StoreError(f"version {name} exists already; the next free name is {next_name(session, kind)}")
    version = Version(
        name=name,
        kind=kind,
        base_model=base_model,
        base_sha256=base_sha256,
        adapter_path=adapter_path,
        adapter_sha256=adapter_sha256,
        parent_id=parent_id,
        run_id=run_id,
        snapshot_id=snapshot_id,
        stale_reason=_inherited_staleness(session, parent_id, snapshot_id),
    )
    session.add(version)
    session.flush()
    audit.record(session, actor, "create", "version", version.id, {"name": name, "adapter_sha256": adapter_sha256})
    return version


def get(session: Session, version_id: int) -> Version:
    """The version; StoreError when there is none."""
    version = session.get(Version, version_id)
    if version is None:
        raise StoreError(f"there is no version {version_id}; see the list of versions")
    return version


def by_name(session: Session, name: str) -> Version:
    """The version of that name; StoreError with the known names when there is none."""
    version = session.scalars(select(Version).where(Version.name == name)).one_or_none()
    if version is None:
        known = ", ".join(session.scalars(select(Version.name).order_by(Version.id))) or "none yet"
        raise StoreError(f"there is no version {name}; known: {known}")
    return version


def made_by(session: Session, run_id: int) -> Version:
    """The version that a run made; StoreError when it made none."""
    version = session.scalars(select(Version).where(Version.run_id == run_id)).one_or_none()
    if version is None:
        raise StoreError(f"run {run_id} made no version; see `prefloop runs show {run_id}`")
    return version


def list_versions(session: Session, kind: VersionKind | None = None) -> list[Version]:
    """Versions, oldest first."""
    query = select(Version).order_by(Version.id)
    return list(session.scalars(query if kind is None else query.where(Version.kind == kind)))


def current(session: Session) -> Version | None:
    """The version that the newest promotion points at; None before the first."""
    newest = _newest(session)
    return None if newest is None else get(session, newest.version_id)


def previous(session: Session) -> Version | None:
    """The version that a rollback would lead to; None when there is none."""
    standing = _standing(history(session))
    return get(session, standing[-1].previous_id) if standing and standing[-1].previous_id is not None else None


def first(session: Session) -> Version | None:
    """The version that was current first; None before the first promotion."""
    moves = history(session)
    return get(session, moves[0].version_id) if moves else None


def without_adapter(version: Version) -> str:
    """Why a version cannot answer any more, in words. Only for one whose adapter was removed."""
    return f"the adapter of {version.name} was removed on {version.adapter_removed_at:%Y-%m-%d} (`prefloop gc`)"


def promotable(session: Session, name: str) -> Version:
    """The version of that name, if it may become current at all.

    StoreError for a reward model, a stale version (force is no way around a withdrawal), one whose adapter was removed,
    and the current one.
    """
    version = by_name(session, name)
    if version.kind != "policy":
        raise StoreError(f"version {version.name} is a {version.kind} model; only a policy is promoted")
    if version.stale_reason is not None:
        raise StoreError(f"version {version.name} is stale ({version.stale_reason}); train a new one")
    if version.adapter_removed_at is not None:
        raise StoreError(f"{without_adapter(version)}; promote another version, or train a new one")
    now = current(session)
    if now is not None and now.id == version.id:
        raise StoreError(f"version {version.name} is current already; there is nothing to promote")
    return version


def promote(
    session: Session,
    version_id: int,
    run_id: int | None,
    evidence: JsonObject,
    actor: str,
    forced: bool = False,
    reason: str = "",
) -> Promotion:
    """Move `current` to a policy. `run_id` is the compare run that is the evidence; `forced` says it did not suffice.

    StoreError for a version that is not `promotable`.
    """
    hold_pointer(session)
    promotable(session, get(session, version_id).name)
    newest = _newest(session)
    promotion = Promotion(
        kind="promote",
        version_id=version_id,
        previous_id=newest.version_id if newest else None,
        run_id=run_id,
        evidence=evidence,
        forced=forced,
        reason=reason,
        actor=actor,
    )
    return _append(session, promotion)


def rollback(session: Session, actor: str, reason: str = "") -> Promotion:
    """Undo the newest promotion that is not undone yet: `current` moves back to the version before it.

    That version may be stale: rolling back twice then leads past it. StoreError when there is nothing to go back to.
    """
    hold_pointer(session)
    standing = _standing(history(session))
    if not standing or standing[-1].previous_id is None:
        raise StoreError("there is no version to roll back to; promote one instead")
    undone = standing[-1]
    promotion = Promotion(
        kind="rollback",
        version_id=undone.previous_id,
        previous_id=undone.version_id,
        run_id=None,
        evidence={"undoes": undone.id},
        forced=False,
        reason=reason,
        actor=actor,
    )
    return _append(session, promotion)


def history(session: Session) -> list[Promotion]:
    """Every promotion and rollback, oldest first."""
    return list(session.scalars(select(Promotion).order_by(Promotion.id)))


def _newest(session: Session) -> Promotion | None:
    return session.scalars(select(Promotion).order_by(Promotion.id.desc()).limit(1)).one_or_none()


def _standing(moves: list[Promotion]) -> list[Promotion]:
    """The promotions that no rollback has undone, oldest first."""
    standing: list[Promotion] = []
    for move in moves:
        if move.kind == "promote":
            standing.append(move)
        else:
            standing.pop()
    return standing


def hold_pointer(session: Session) -> None:
    """Let one transaction move `current` at a time: the oldest version's row stands for the pointer."""
    session.scalars(select(Version).order_by(Version.id).limit(1).with_for_update(key_share=True)).all()


def _append(session: Session, promotion: Promotion) -> Promotion:
    session.add(promotion)
    session.flush()
    details = {"version_id": promotion.version_id, "previous_id": promotion.previous_id, "forced": promotion.forced}
    audit.record(session, promotion.actor, promotion.kind, "promotion", promotion.id, details)
    if promotion.previous_id is not None:
        notifications.current_moved(session, promotion)
    return promotion


def _inherited_staleness(session: Session, parent_id: int | None, snapshot_id: int | None) -> str | None:
    parent = None if parent_id is None else session.get(Version, parent_id)
    snapshot = None if snapshot_id is None else session.get(Snapshot, snapshot_id)
    return next((row.stale_reason for row in (snapshot, parent) if row is not None and row.stale_reason), None)
