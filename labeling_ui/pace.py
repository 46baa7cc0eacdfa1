"""How fast people label, and when they will be done if they go on like that."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from db.activity import Slot

SLOT = timedelta(minutes=10)  # the grain at which somebody labels or does not
WINDOW = timedelta(days=7)  # what lies further back says nothing about today
_RECENT = 36  # slots, six active hours: the pace is theirs
_FEWEST = 3  # active slots, half an hour: less is no pace yet


@dataclass(frozen=True, slots=True)
class Pace:
    """Judgments of all people together, an hour in which anybody labels."""

    per_hour: float
    active_hours: float  # that it is taken from
    hours_left: float  # of labeling, at this pace
    finish: datetime | None  # at this pace, with as many hours a day as lately; None before a day's experience


def pace(slots: Sequence[Slot], owed: int, now: datetime) -> Pace | None:
    """The pace of the last active hours; `slots` are those of the last WINDOW, oldest first. None: no pace yet.

    The slot that is under way is left out: it would look slow.
    """
    over = [slot for slot in slots if slot.start + SLOT <= now]
    if len(over) < _FEWEST:
        return None
    recent = over[-_RECENT:]
    active_hours = len(recent) * SLOT / timedelta(hours=1)
    per_hour = sum(slot.judgments for slot in recent) / active_hours
    experience = now - over[0].start
    finish = None
    if experience >= timedelta(days=1):
        active_share = len(over) * SLOT / experience
        finish = now + timedelta(hours=owed / per_hour) / active_share
    return Pace(per_hour, active_hours, owed / per_hour, finish)
