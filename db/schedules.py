"""Schedules: what is started when, and why a tick of one started nothing.

Any number of processes may tick at once. What one of them has decided is written under the lock of the schedule's row,
and only while the schedule's newest run is still the one that it was decided on; who comes second writes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from . import audit, clock, run_queue
from .columns import JsonObject
from .errors import StoreError
from .tables import Run, Schedule, ScheduleWait

KEPT = 500  # rows of reasons, of each schedule


@dataclass(frozen=True, slots=True)
class When:
    """What starts a schedule's runs. With `cron`, the triggers are asked at due times; without, at every tick."""

    cron: str | None = None
    timezone: str = "UTC"
    new_pairs: int | None = None
    reward_older: bool = False
    stale: bool = False


def add(session: Session, name: str, when: When, recipe: JsonObject, actor: str = audit.SYSTEM) -> Schedule:
    """A new schedule. StoreError when the name is taken, or when nothing would ever start it."""
    if when.cron is None and when.new_pairs is None and not when.reward_older and not when.stale:
        raise StoreError(f"nothing would ever start schedule {name}; give it due times or a trigger")
    if when.new_pairs is not None and when.new_pairs < 1:
        raise StoreError(f"a schedule waits for 1 new pair or more, not for {when.new_pairs}")
    if session.scalars(_standing().where(Schedule.name == name)).one_or_none() is not None:
        raise StoreError(f"there is a schedule {name} already; remove it first, or choose another name")
    schedule = Schedule(
        name=name,
        cron=when.cron,
        timezone=when.timezone,
        new_pairs=when.new_pairs,
        reward_older=when.reward_older,
        stale=when.stale,
        recipe=recipe,
    )
    session.add(schedule)
    session.flush()
    audit.record(session, actor, "add", "schedule", schedule.id, {"name": name, "cron": when.cron})
    return schedule


def by_name(session: Session, name: str) -> Schedule:
    """The schedule of that name; StoreError with the known names when there is none."""
    found = session.scalars(_standing().where(Schedule.name == name)).one_or_none()
    if found is None:
        known = ", ".join(schedule.name for schedule in list_schedules(session)) or "none yet"
        raise StoreError(f"there is no schedule {name}; known: {known}")
    return found


def list_schedules(session: Session) -> list[Schedule]:
    """Every schedule that was not removed, by name."""
    return list(session.scalars(_standing().order_by(Schedule.name)))


def pause(session: Session, name: str, actor: str = audit.SYSTEM) -> Schedule:
    """Start nothing until it is resumed; a run that is under way goes on. Pausing a paused one changes nothing."""
    schedule = _locked(session, by_name(session, name).id)
    if schedule.paused_at is None:
        schedule.paused_at = clock.now()
        audit.record(session, actor, "pause", "schedule", schedule.id)
    return schedule


def resume(session: Session, name: str, actor: str = audit.SYSTEM) -> Schedule:
    """Go on. Due times that passed meanwhile are over: the next one is the first that counts."""
    schedule = _locked(session, by_name(session, name).id)
    if schedule.paused_at is not None:
        schedule.paused_at = None
        schedule.decided_slot = clock.now()
        audit.record(session, actor, "resume", "schedule", schedule.id)
    return schedule


def remove(session: Session, name: str, actor: str = audit.SYSTEM) -> Schedule:
    """Start nothing any more, and free the name. Runs of the past still name the row, which stays."""
    schedule = _locked(session, by_name(session, name).id)
    schedule.removed_at = clock.now()
    audit.record(session, actor, "remove", "schedule", schedule.id, {"name": name})
    return schedule


def newest_run(session: Session, schedule_id: int) -> Run | None:
    """The run that the schedule started last; None before the first."""
    query = select(Run).where(Run.schedule_id == schedule_id).order_by(Run.id.desc()).limit(1)
    return session.scalars(query).one_or_none()


def start(
    session: Session,
    schedule_id: int,
    slot: datetime,
    after_run: int | None,
    config: JsonObject,
    reason: str,
    actor: str = audit.SYSTEM,
) -> Run | None:
    """Queue the schedule's recipe for a slot; None when another ticker was first or the schedule went away.

    `after_run` is the id of the schedule's newest run when this was decided.
    """
    schedule = _as_decided_on(session, schedule_id, after_run)
    if schedule is None or _is_decided(schedule, slot):
        return None
    run = run_queue.enqueue(session, {**config, "reason": reason}, actor, schedule_id, slot)
    schedule.decided_slot = slot
    return run


def wait(
    session: Session, schedule_id: int, after_run: int | None, reason: str, now: datetime, slot: datetime | None = None
) -> bool:
    """Record why a tick started nothing; False when another ticker has started a run meanwhile.

    `slot` is a due time that is turned down for this reason: it is not asked about again.
    """
    schedule = _as_decided_on(session, schedule_id, after_run)
    if schedule is None or (slot is not None and _is_decided(schedule, slot)):
        return False
    if slot is not None:
        schedule.decided_slot = slot
    newest = next(iter(waits(session, schedule_id, limit=1)), None)
    if newest is not None and newest.reason == reason:
        newest.ticks += 1
        newest.last_at = now
        return True
    row = ScheduleWait(schedule_id=schedule_id, reason=reason, ticks=1, first_at=now, last_at=now)
    session.add(row)
    session.flush()
    oldest = [kept.id for kept in waits(session, schedule_id, KEPT)][-1]
    session.execute(delete(ScheduleWait).where(ScheduleWait.schedule_id == schedule_id, ScheduleWait.id < oldest))
    return True


def waits(session: Session, schedule_id: int, limit: int = 20) -> Sequence[ScheduleWait]:
    """The newest reasons why ticks started nothing, newest first."""
    query = select(ScheduleWait).where(ScheduleWait.schedule_id == schedule_id)
    return session.scalars(query.order_by(ScheduleWait.id.desc()).limit(limit)).all()


def _standing() -> Select[Schedule]:
    return select(Schedule).where(Schedule.removed_at.is_(None))


def _locked(session: Session, schedule_id: int) -> Schedule:
    return session.get_one(Schedule, schedule_id, with_for_update={"key_share": True}, populate_existing=True)


def _as_decided_on(session: Session, schedule_id: int, after_run: int | None) -> Schedule | None:
    """The locked schedule, if its newest run is still that one and nobody has paused or removed it."""
    schedule = _locked(session, schedule_id)
    newest = newest_run(session, schedule_id)
    same = (None if newest is None else newest.id) == after_run
    return schedule if same and schedule.removed_at is None else None


def _is_decided(schedule: Schedule, slot: datetime) -> bool:
    return schedule.decided_slot is not None and slot <= schedule.decided_slot
