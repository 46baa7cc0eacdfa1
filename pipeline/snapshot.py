"""Snapshots: judgments frozen into training rows. The same judgments give the same bytes, today and when rebuilt."""

from __future__ import annotations

from dataclasses import dataclass

from db import judgments, snapshots
from db.engine import reading, writing
from db.tables import Snapshot

from .context import Context
from .errors import PrefloopError
from .pairs import PairPolicy, PreferenceRow, SharedPair, build, shared_pairs


@dataclass(frozen=True)
class Frozen:
    snapshot: Snapshot
    rows: list[PreferenceRow]
    created: bool


def freeze(ctx: Context, policy: PairPolicy) -> Frozen:
    """Freeze today's judgments by the policy. The same content is the same snapshot."""
    with writing(ctx.engine) as session:
        found = judgments.current(
            session,
            kind=policy.annotators,
            purposes=policy.purposes,
            round_ids=list(policy.rounds) if policy.rounds else None,
        )
        pairs = build(found, policy)
        if not pairs.rows:
            counts = ", ".join(f"{count} {name}" for name, count in pairs.counts.items())
            raise PrefloopError(
                f"no {policy.annotators} judgment gives a training pair ({counts}); label more with `prefloop ui`"
                + ("" if policy.annotators == "simulated" else ", or train on --annotators simulated")
            )
        stored = snapshots.store(
            session, pairs.sha256, pairs.judgment_ids, policy.as_dict(), pairs.counts, len(pairs.rows), actor=ctx.actor
        )
        snapshot = snapshots.get(session, stored.id)
    return Frozen(snapshot, pairs.rows, stored.created)


def rebuild(ctx: Context, snapshot: Snapshot) -> list[PreferenceRow]:
    """The rows of a stored snapshot, from its judgment ids. Raises PrefloopError if they are not what was frozen."""
    with reading(ctx.engine) as session:
        found = judgments.by_ids(session, snapshots.judgment_ids(session, snapshot.id))
    pairs = build(found, PairPolicy.from_dict(snapshot.policy))
    if pairs.sha256 != snapshot.sha256:
        raise PrefloopError(
            f"snapshot {snapshot.id} no longer rebuilds to its content ({pairs.sha256[:12]} instead of "
            f"{snapshot.sha256[:12]}): the store or the pair policy changed; run `prefloop verify`"
        )
    return pairs.rows


def shared(ctx: Context, snapshot: Snapshot) -> list[SharedPair]:
    """The pairs of a stored snapshot that several annotators decided, even splits included."""
    with reading(ctx.engine) as session:
        found = judgments.by_ids(session, snapshots.judgment_ids(session, snapshot.id))
    return shared_pairs(found, PairPolicy.from_dict(snapshot.policy))
