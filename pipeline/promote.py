"""PROMOTE: `current` moves to a version only when a comparison shows that it is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from db import versions
from db.engine import reading, writing
from db.tables import Version

from .context import Context


@dataclass(frozen=True)
class Decision:
    promote: bool
    reason: str  # one sentence with the figures, either way


def decide(report: dict[str, Any], judge: str) -> Decision:
    """The rule: the lower bound of the win rate over the other version lies above one half, by the deciding judge."""
    rate = report["judges"][judge]
    figures = (
        f"{report['a']} wins {rate['rate']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}] against {report['b']} "
        f"by {judge} on {rate['prompts']} held-out prompts"
    )
    if rate["low"] > 0.5:
        return Decision(True, f"{figures}; the lower bound is above 50 %")
    if rate["high"] < 0.5:
        return Decision(False, f"{figures}; it is worse")
    return Decision(False, f"{figures}; the lower bound is not above 50 %: not shown to be better")


def promote_if_better(ctx: Context, version: Version, run_id: int, report: dict[str, Any], judge: str) -> Decision:
    """Apply the rule and move `current` if it says so. Does nothing when the version is current already."""
    decision = decide(report, judge)
    with reading(ctx.engine) as session:
        current = versions.current(session)
    if decision.promote and (current is None or current.id != version.id):
        with writing(ctx.engine) as session:
            evidence = {"judge": judge, "report": report}
            versions.promote(session, version.id, run_id, evidence, actor=ctx.actor, reason=decision.reason)
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
