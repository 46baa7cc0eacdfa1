"""PROMOTE: `current` moves to a version only when the gate of a comparison with the current one passed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from db import promotions, versions
from db.engine import reading, writing
from db.tables import Version

from . import gate
from .context import Context


@dataclass(frozen=True)
class Decision:
    promote: bool
    reason: str  # the figures in a sentence, either way


def promote_if_better(ctx: Context, version: Version, run_id: int, report: dict[str, Any]) -> Decision:
    """Move `current` to the version if the gate of its comparison passed. Does nothing when it is current already.

    `run_id` and `report` are those of `compare` of the version with another. It stays where it is, too, when that
    other one is not current any more: then nothing is known of the two.
    """
    with reading(ctx.engine) as session:
        current = versions.current(session)
    decision = Decision(report["gate"]["passed"], gate.summary(report))
    if not decision.promote or (current is not None and current.id == version.id):
        return decision
    if current is not None and current.name != report["b"]:
        return Decision(False, f"{decision.reason}; but {current.name} is current by now, not {report['b']}")
    with writing(ctx.engine) as session:
        promotions.promote_compared(session, run_id, ctx.actor)
    return decision


def ensure_current(ctx: Context) -> Version:
    """The current version; the bare base is made current when nothing is yet."""
    base = ctx.base_version()
    with writing(ctx.engine) as session:
        current = versions.current(session)
        if current is None:
            versions.promote(session, base.id, None, {}, actor=ctx.actor, reason="the base, to start from")
            current = base
    return current
