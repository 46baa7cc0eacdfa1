"""Promoting on the evidence of a comparison, and the history of the pointer `current`."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from . import runs, versions
from .columns import JsonObject
from .errors import StoreError
from .tables import Promotion, Version
from .words import PromotionKind


@dataclass(frozen=True, slots=True)
class Move:
    """One promotion or rollback."""

    id: int
    kind: PromotionKind
    version: str
    previous: str | None
    run_id: int | None  # the compare run that is the evidence
    evidence: JsonObject  # `report` is that of the comparison, with `gate`; a rollback's `undoes` is a promotion's id
    forced: bool
    reason: str
    actor: str
    created_at: datetime


def promote_compared(session: Session, run_id: int, actor: str, force_reason: str | None = None) -> Promotion:
    """Make the first version of a comparison current, if it was made against the current one and its gate passed.

    `force_reason` moves the pointer past a gate that did not pass, and is recorded; where the gate passed nothing is
    forced, and the reason is only kept. StoreError for a run that is no finished comparison, a comparison with another
    version than the current one, an unpassed gate without a reason, and whatever `versions.promote` refuses (a stale
    version: force is no way around a withdrawal).
    """
    versions.hold_pointer(session)
    run = runs.get(session, run_id)
    report = run.summary
    if run.stage != "compare" or run.state != "finished" or report is None or "gate" not in report:
        raise StoreError(f"run {run_id} is no finished comparison with a gate; see the list of runs")
    version, current = versions.by_name(session, report["a"]), versions.current(session)
    if current is not None and current.id == version.id:
        raise StoreError(f"version {version.name} is current already; there is nothing to promote")
    if current is None or current.name != report["b"]:
        raise StoreError(
            f"run {run_id} compared {version.name} with {report['b']}, and {current.name if current else 'nothing'} is "
            f"current; compare {version.name} with the current version"
        )
    passed = bool(report["gate"]["passed"])
    reason = (force_reason or "").strip()
    if not passed and not reason:
        failed = "; ".join(rule["words"] for rule in report["gate"]["rules"] if not rule["passed"])
        raise StoreError(f"the gate refuses {version.name}: {failed}; or force it, and say why")
    decided = reason or "; ".join(rule["words"] for rule in report["gate"]["rules"])
    return versions.promote(session, version.id, run_id, {"report": report}, actor, forced=not passed, reason=decided)


def list_moves(session: Session) -> list[Move]:
    """Every promotion and rollback, oldest first."""
    previous = aliased(Version)
    query = (
        select(Promotion, Version.name, previous.name)
        .join(Version, Version.id == Promotion.version_id)
        .outerjoin(previous, previous.id == Promotion.previous_id)
        .order_by(Promotion.id)
    )
    return [
        Move(
            id=move.id,
            kind=move.kind,
            version=version,
            previous=before,
            run_id=move.run_id,
            evidence=move.evidence,
            forced=move.forced,
            reason=move.reason,
            actor=move.actor,
            created_at=move.created_at,
        )
        for move, version, before in session.execute(query)
    ]
