"""When a cron expression is due: times of the local clock of a zone, as moments.

Where the clock is changed, RFC 5545 (3.3.5) and Vixie cron lead, and every local due time is one moment:

- A time that the clock skips in spring is due at the moment of the change: 02:30 at 03:00 summer time.
- A time that the clock shows twice in autumn is due the first time. A schedule of every half hour therefore pauses for
  an hour: what is due is the reading of the clock, not the time that has passed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter

from .errors import PrefloopError

MINUTE = timedelta(minutes=1)


def zone(name: str) -> ZoneInfo:
    """The time zone. Raises PrefloopError when there is none of that name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise PrefloopError(f"time zone {name!r} is not known; use a name like UTC or Europe/Berlin") from None


def check(cron: str, timezone: str) -> None:
    """Raises PrefloopError when the expression does not say a time, or never one that comes."""
    where = zone(timezone)
    if len(cron.split()) != 5 or not croniter.is_valid(cron):
        raise PrefloopError(
            f"{cron!r} is no cron expression; write minute, hour, day, month and weekday, as '0 3 * * *'"
        )
    try:
        next_due(cron, where, datetime.now(UTC))
    except ValueError:
        raise PrefloopError(f"{cron!r} never comes; correct the day or the month") from None


def newest_due(cron: str, where: ZoneInfo, now: datetime) -> datetime:
    """The latest due moment that is not after `now`, in UTC."""
    local = now.astimezone(where).replace(fold=0)
    # In an hour that is shown twice, what the clock would show had it not been put back: the first pass is over.
    reading = (now.astimezone(UTC) + (local.utcoffset() or timedelta())).replace(tzinfo=None)
    return next(due for due in _due(cron, where, reading + MINUTE, "back") if due <= now)


def next_due(cron: str, where: ZoneInfo, now: datetime) -> datetime:
    """The first due moment after `now`, in UTC."""
    reading = now.astimezone(where).replace(tzinfo=None)
    return next(due for due in _due(cron, where, reading - MINUTE, "forth") if due > now)


def upcoming(cron: str, where: ZoneInfo, now: datetime, count: int) -> list[datetime]:
    """The first `count` due moments after `now`, in UTC."""
    found: list[datetime] = []
    while len(found) < count:
        found.append(next_due(cron, where, found[-1] if found else now))
    return found


def _due(cron: str, where: ZoneInfo, reading: datetime, way: Literal["back", "forth"]) -> Iterator[datetime]:
    """Due moments in order, from a reading of the local clock on. The order of readings is that of their moments."""
    readings = croniter(cron, reading)
    while True:
        yield _moment(readings.get_prev(datetime) if way == "back" else readings.get_next(datetime), where)


def _moment(reading: datetime, where: ZoneInfo) -> datetime:
    """When the local clock shows this for the first time, or has gone past it without showing it."""
    while True:
        moment = reading.replace(tzinfo=where).astimezone(UTC)
        if moment.astimezone(where).replace(tzinfo=None) == reading:
            return moment
        reading += MINUTE  # the clock skips it
