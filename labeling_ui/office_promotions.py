"""Promotions: where `current` points, on what evidence a version may replace it, and where it pointed before."""

from dataclasses import dataclass

from sqlalchemy import Engine

from db import compared, promotions, versions
from db.compared import Report
from db.promotions import Move
from labeling_ui.office import acting, looking


@dataclass(frozen=True, slots=True)
class Standing:
    """The pointer, and what may be done with it."""

    current: str | None
    current_stale: str | None
    former: str | None  # that a rollback would make current
    candidates: list[str]  # policies that may become current, the newest first
    moves: list[Move]  # the newest first


def standing(engine: Engine, person_id: int) -> Standing:
    with looking(engine, person_id) as session:
        current = versions.current(session)
        policies = versions.list_versions(session, "policy")
        former = versions.previous(session)
        moves = promotions.list_moves(session)
        return Standing(
            current=current.name if current else None,
            current_stale=current.stale_reason if current else None,
            former=former.name if former else None,
            candidates=[
                each.name
                for each in reversed(policies)
                if each.stale_reason is None and each.adapter_removed_at is None
                if current is None or each.id != current.id
            ],
            moves=moves[::-1],
        )


def evidence(engine: Engine, person_id: int, version: str) -> Report | None:
    """The newest comparison of the version with the current one that has a gate; None when there is none."""
    with looking(engine, person_id) as session:
        current = versions.current(session)
        found = compared.newest_against(session, version, current.name) if current else None
    return found if found and "gate" in found.found else None


def promote(engine: Engine, person_id: int, run_id: int, force_reason: str | None = None) -> str:
    """On the evidence of that comparison; past its gate with a reason. StoreError in the words of the rules."""
    with acting(engine, person_id) as (session, actor):
        move = promotions.promote_compared(session, run_id, actor, force_reason)
        name = versions.get(session, move.version_id).name
    return f"{name} is current now" + (", by force." if move.forced else ".")


def roll_back(engine: Engine, person_id: int, reason: str) -> str:
    with acting(engine, person_id) as (session, actor):
        move = versions.rollback(session, actor, reason.strip())
        return f"Rolled back: {versions.get(session, move.version_id).name} is current again."
