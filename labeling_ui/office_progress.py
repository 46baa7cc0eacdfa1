"""Progress: what is owed and how it shrinks, who labels, and how fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Literal

from sqlalchemy import Engine

from db import activity, clock
from db.activity import AnnotatorActivity, Slot
from db.words import AnnotatorKind
from labeling_ui import pace
from labeling_ui.office import looking
from labeling_ui.pace import Pace

Grain = Literal["minute", "hour", "day"]

# The burn-down's steps, by its age: what is younger than the first is drawn in the second. Afterwards in days.
_STEPS = (
    (timedelta(hours=6), timedelta(minutes=1)),
    (timedelta(days=4), timedelta(minutes=10)),
    (timedelta(days=60), timedelta(hours=1)),
)
_FEWEST = 3  # steps: less is no course that a line could show
_BARS: tuple[tuple[timedelta, Grain], ...] = ((timedelta(hours=3), "minute"), (timedelta(days=14), "hour"))


@dataclass(frozen=True, slots=True)
class Owed:
    """How many judgments people owed at a moment."""

    at: datetime
    judgments: int


@dataclass(frozen=True, slots=True)
class BurnDown:
    points: list[Owed]  # none before there is a course to show
    owed: int  # now
    judged: int  # so far
    since: datetime | None  # when the first question was asked that is asked today; None: nothing is
    pace: Pace | None  # None: not yet


@dataclass(frozen=True, slots=True)
class Bars:
    """Judgments over time, in bars of a minute, an hour or a day."""

    grain: Grain
    slots: list[tuple[AnnotatorKind, Slot]]  # minutes or hours: a day is that of whoever looks
    now: datetime


def burn_down(engine: Engine, person_id: int, queue_id: int | None) -> BurnDown:
    """What people owed over time, in one queue or all. The pace is that of all their work: they go where it is owed."""
    now = clock.now()
    with looking(engine, person_id) as session:
        changes = activity.debt_by_slot(session, queue_id=queue_id)
        width = _step(now - changes[0].start) if changes else pace.SLOT
        changes = activity.debt_by_slot(session, minutes=_minutes(width), queue_id=queue_id)
        slots = activity.by_slot(session, "human", minutes=_minutes(pace.SLOT), since=now - pace.WINDOW)
    owed = list(accumulate(change.asked - change.judged for change in changes))
    judged = sum(change.judged for change in changes)
    since = changes[0].start if changes else None
    left = owed[-1] if owed else 0
    points = []
    if since and judged and now - since >= _FEWEST * width:
        course = [Owed(min(change.start + width, now), left) for change, left in zip(changes, owed, strict=True)]
        points = [Owed(since, 0), Owed(since, changes[0].asked), *course, Owed(now, left)]
    return BurnDown(points, left, judged, since, pace.pace(slots, left, now))


def _step(age: timedelta) -> timedelta:
    return next((step for young, step in _STEPS if age < young), timedelta(days=1))


def _minutes(span: timedelta) -> int:
    return span // timedelta(minutes=1)


def bars(engine: Engine, person_id: int, kinds: Sequence[AnnotatorKind], days: int | None) -> Bars:
    """When in the last days, or ever, anybody of these kinds judged something."""
    now = clock.now()
    since = None if days is None else now - timedelta(days=days)
    with looking(engine, person_id) as session:

        def judged(minutes: int) -> list[tuple[AnnotatorKind, Slot]]:
            return [(kind, slot) for kind in kinds for slot in activity.by_slot(session, kind, minutes, since)]

        slots = judged(60)
        age = now - min((slot.start for _, slot in slots), default=now)
        grain: Grain = next((grain for young, grain in _BARS if age < young), "day")
        return Bars(grain, judged(1) if grain == "minute" else slots, now)


def annotators(engine: Engine, person_id: int, simulated: bool) -> list[AnnotatorActivity]:
    """Who labels, withdrawn ones left out; simulated annotators only when they are asked for."""
    with looking(engine, person_id) as session:
        return [
            each
            for each in activity.by_annotator(session)
            if each.withdrawn_at is None and (simulated or each.kind == "human")
        ]
