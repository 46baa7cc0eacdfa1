"""Snapshots: judgments frozen into training rows. The same judgments give the same bytes, today and when rebuilt.

A snapshot's policy says which shape its rows have: pairs (pairs.py), demonstrations (demonstrations.py) or thumbs
(thumbs.py). One of no stated shape is older than the others and holds pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from db import judgments, snapshots
from db.engine import reading, writing
from db.judgments import JudgmentRow
from db.tables import Snapshot

from . import demonstrations, pairs, thumbs
from .context import Context
from .demonstrations import DemonstrationRow
from .errors import PrefloopError
from .pairs import Pairs, RowPolicy, Shape, SharedPair, shared_pairs
from .rows import Rows
from .thumbs import ThumbRow

Row = TypeVar("Row")

_WHERE_FROM: dict[Shape, str] = {
    "pairs": "comparisons, rankings and edits",
    "demonstrations": "edits and demonstrations",
    "thumbs": "thumbs and ratings",
}


@dataclass(frozen=True)
class Frozen(Generic[Row]):
    snapshot: Snapshot
    rows: list[Row]  # PreferenceRow, DemonstrationRow or ThumbRow, by the snapshot's shape
    created: bool


def build_rows(found: Sequence[JudgmentRow], policy: RowPolicy) -> Pairs | Rows[DemonstrationRow] | Rows[ThumbRow]:
    """The rows of the policy's shape."""
    if policy.shape == "demonstrations":
        return demonstrations.build(found, policy)
    if policy.shape == "thumbs":
        return thumbs.build(found, policy)
    return pairs.build(found, policy)


def freeze(ctx: Context, policy: RowPolicy) -> Frozen[Any]:
    """Freeze today's judgments by the policy. The same content is the same snapshot."""
    with writing(ctx.engine) as session:
        found = judgments.current(
            session,
            kind=policy.annotators,
            purposes=policy.purposes,
            round_ids=list(policy.rounds) if policy.rounds else None,
        )
        built = build_rows(found, policy)
        if not built.rows:
            counts = ", ".join(f"{count} {name}" for name, count in built.counts.items())
            raise PrefloopError(
                f"no {policy.annotators} judgment gives a row of the shape {policy.shape} ({counts}), which come from "
                f"{_WHERE_FROM[policy.shape]}; label more with `prefloop ui`"
                + ("" if policy.annotators == "simulated" else ", or train on --annotators simulated")
            )
        stored = snapshots.store(
            session, built.sha256, built.judgment_ids, policy.as_dict(), built.counts, len(built.rows), actor=ctx.actor
        )
        snapshot = snapshots.get(session, stored.id)
    return Frozen(snapshot, list(built.rows), stored.created)


def shape_of(snapshot: Snapshot) -> Shape:
    return RowPolicy.from_dict(snapshot.policy).shape


def rebuild(ctx: Context, snapshot: Snapshot) -> list[Any]:
    """The rows of a stored snapshot, from its judgment ids. Raises PrefloopError if they are not what was frozen."""
    with reading(ctx.engine) as session:
        found = judgments.by_ids(session, snapshots.judgment_ids(session, snapshot.id))
    built = build_rows(found, RowPolicy.from_dict(snapshot.policy))
    if built.sha256 != snapshot.sha256:
        raise PrefloopError(
            f"snapshot {snapshot.id} no longer rebuilds to its content ({built.sha256[:12]} instead of "
            f"{snapshot.sha256[:12]}): the store or the policy of its rows changed; run `prefloop verify`"
        )
    return list(built.rows)


def shared(ctx: Context, snapshot: Snapshot) -> list[SharedPair]:
    """The pairs of a stored snapshot that several annotators decided, even splits included."""
    with reading(ctx.engine) as session:
        found = judgments.by_ids(session, snapshots.judgment_ids(session, snapshot.id))
    return shared_pairs(found, RowPolicy.from_dict(snapshot.policy))
