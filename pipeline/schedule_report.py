"""Facts about schedules as plain values: when each starts, when it is due next, and why it waits."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from db import schedules
from db.engine import reading
from db.tables import Schedule

from .context import Context
from .due_times import next_due, zone
from .schedule_words import when


def schedule_rows(ctx: Context, now: datetime) -> list[dict[str, Any]]:
    with reading(ctx.engine) as session:
        return [_row(schedule, now, session) for schedule in schedules.list_schedules(session)]


def _row(schedule: Schedule, now: datetime, session: Any) -> dict[str, Any]:
    last = schedules.newest_run(session, schedule.id)
    newest = next(iter(schedules.waits(session, schedule.id, limit=1)), None)
    due = None
    if schedule.cron is not None and schedule.paused_at is None:
        where = zone(schedule.timezone)
        due = f"{next_due(schedule.cron, where, now).astimezone(where):%Y-%m-%d %H:%M %Z}"
    return {
        "name": schedule.name,
        "starts": when(schedule),
        "recipe": schedule.recipe["name"],
        "next": due,
        "last_run": None if last is None else f"{last.id} {last.state}",
        "waits": None if newest is None else newest.reason,
    }
