"""Progress: what is owed and how it shrinks, who labels, and how fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from sqlalchemy import Engine

from db import activity, clock
from db.activity import AnnotatorActivity, Slot
from db.words import AnnotatorKind
from labeling_ui import pace
from labeling_ui.office import looking
from labeling_ui.pace import Pace

_FINE = timedelta(days=4)  # so long the burn-down is drawn in slots, afterwards in hours


@dataclass(frozen=True, slots=True)
class Owed:
    """How many judgments people owed at a moment."""

    at: datetime
    judgments: int


@dataclass(frozen=True, slots=True)
class BurnDown:
    points: list[Owed]
    owed: int  # now
    pace: Pace | None  # None: not yet


def burn_down(engine: Engine, person_id: int, queue_id: int | None) -> BurnDown:
    """What people owed over time, in one queue or all. The pace is that of all their work: they go where it is owed."""
    now = clock.now()
    with looking(engine, person_id) as session:
        changes, width = activity.debt_by_slot(session, queue_id=queue_id), timedelta(hours=1)
        if changes and now - changes[0].start < _FINE:
            changes, width = activity.debt_by_slot(session, minutes=_minutes(pace.SLOT), queue_id=queue_id), pace.SLOT
        slots = activity.by_slot(session, "human", minutes=_minutes(pace.SLOT), since=now - pace.WINDOW)
    owed = list(accumulate(change.asked - change.judged for change in changes))
    points = [Owed(min(change.start + width, now), left) for change, left in zip(changes, owed, strict=True)]
    if points:
        points = [Owed(changes[0].start, 0), *points, Owed(now, owed[-1])]
    left = owed[-1] if owed else 0
    return BurnDown(points, left, pace.pace(slots, left, now))


def _minutes(span: timedelta) -> int:
    return span // timedelta(minutes=1)


def hours(
    engine: Engine, person_id: int, kinds: Sequence[AnnotatorKind], days: int | None
) -> list[tuple[AnnotatorKind, Slot]]:
    """The hours of the last days, or of all, in which anybody of these kinds judged something."""
    since = None if days is None else clock.now() - timedelta(days=days)
    with looking(engine, person_id) as session:
        return [(kind, slot) for kind in kinds for slot in activity.by_slot(session, kind, since=since)]


def annotators(engine: Engine, person_id: int, simulated: bool) -> list[AnnotatorActivity]:
    """Who labels, withdrawn ones left out; simulated annotators only when they are asked for."""
    with looking(engine, person_id) as session:
        return [
            each
            for each in activity.by_annotator(session)
            if each.withdrawn_at is None and (simulated or each.kind == "human")
        ]
