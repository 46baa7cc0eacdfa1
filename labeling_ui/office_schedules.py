"""Schedules: what there is, why each waits, and making, pausing and removing them.

Whether a recipe and a cron expression can be followed is known to the pipeline, from files that need no torch.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db import clock, orders, schedules
from db.columns import JsonObject
from db.errors import StoreError
from db.schedules import When
from db.tables import Run, Schedule, ScheduleWait
from labeling_ui.office import PAGE, acting, looking
from pipeline import recipe as recipes
from pipeline import schedule_words
from pipeline.config import Settings
from pipeline.due_times import check as check_cron
from pipeline.due_times import upcoming, zone
from pipeline.errors import PrefloopError
from pipeline.recipe import Recipe

SHOWN = 5  # due times


@dataclass(frozen=True, slots=True)
class ScheduleLine:
    schedule: Schedule
    starts: str  # in words
    due: list[datetime]  # the next ones; none while it is paused, and without due times
    last: Run | None
    waits: str | None  # why the newest tick that started nothing did so


@dataclass(frozen=True, slots=True)
class Draft:
    """A schedule as it is being typed in."""

    name: str
    cron: str  # empty: no due times
    timezone: str
    new_pairs: int  # 0: no such trigger
    reward_older: bool
    stale: bool
    recipe: str | JsonObject  # TOML, or that of another schedule

    @property
    def when(self) -> When:
        return When(self.cron.strip() or None, self.timezone, self.new_pairs or None, self.reward_older, self.stale)


@dataclass(frozen=True, slots=True)
class Checked:
    """What would become of a draft."""

    faults: list[str]  # everything that keeps it from being added
    starts: str  # in words; empty while that cannot be said
    due: list[datetime]
    recipe: Recipe | None


def lines(engine: Engine, person_id: int) -> list[ScheduleLine]:
    with looking(engine, person_id) as session:
        return [_line(session, schedule) for schedule in schedules.list_schedules(session)]


def _line(session: Session, schedule: Schedule) -> ScheduleLine:
    newest = next(iter(schedules.waits(session, schedule.id, limit=1)), None)
    return ScheduleLine(
        schedule=schedule,
        starts=schedule_words.when(schedule),
        due=_due(schedule.cron, schedule.timezone) if schedule.paused_at is None else [],
        last=schedules.newest_run(session, schedule.id),
        waits=newest.reason if newest is not None else None,
    )


def _due(cron: str | None, timezone: str) -> list[datetime]:
    return [] if cron is None else upcoming(cron, zone(timezone), clock.now(), SHOWN)


def waits(engine: Engine, person_id: int, name: str) -> list[ScheduleWait]:
    """Why ticks of the schedule started nothing, newest first."""
    with looking(engine, person_id) as session:
        return list(schedules.waits(session, schedules.by_name(session, name).id, PAGE))


def built_in() -> str:
    """The recipe that is taken where no other is given, as TOML."""
    return recipes.DEFAULT.read_text()


def check(engine: Engine, person_id: int, draft: Draft) -> Checked:
    """Everything that is wrong with a draft, and when it would start."""
    with looking(engine, person_id) as session:
        taken = {schedule.name for schedule in schedules.list_schedules(session)}
    faults = []
    name, when = draft.name.strip(), draft.when
    if not name:
        faults.append("it has no name; give it one")
    elif name in taken:
        faults.append(f"there is a schedule {name} already; choose another name")
    starts, due = "", []
    if when == When(timezone=draft.timezone):
        faults.append("nothing would ever start it; give it due times or a trigger")
    else:
        try:
            if when.cron is not None:
                check_cron(when.cron, when.timezone)
            starts, due = schedule_words.when(when), _due(when.cron, when.timezone)
        except PrefloopError as error:
            faults.append(str(error))
    recipe, wrong = _recipe(draft.recipe)
    return Checked(faults + wrong, starts, due, recipe)


def _recipe(given: str | JsonObject) -> tuple[Recipe | None, list[str]]:
    """The recipe, or all that is wrong with it."""
    try:
        if isinstance(given, str):
            return recipes.parse(given, "recipe", Settings(), "the recipe"), []
        return recipes.fit(given), []
    except PrefloopError as error:
        return None, str(error).splitlines()


def add(engine: Engine, person_id: int, draft: Draft) -> str:
    """StoreError with every fault, if there is one."""
    checked = check(engine, person_id, draft)
    if checked.faults or checked.recipe is None:
        raise StoreError("\n".join(["the schedule is not added", *(f"– {fault}" for fault in checked.faults)]))
    with acting(engine, person_id) as (session, actor):
        schedule = schedules.add(session, draft.name.strip(), draft.when, checked.recipe.as_dict(), actor)
        return f"Schedule {schedule.name} is there: {checked.starts}."


def pause(engine: Engine, person_id: int, name: str) -> str:
    with acting(engine, person_id) as (session, actor):
        schedules.pause(session, name, actor)
        return f"Schedule {name} is paused: it starts nothing, and a run that is under way goes on."


def resume(engine: Engine, person_id: int, name: str) -> str:
    with acting(engine, person_id) as (session, actor):
        schedules.resume(session, name, actor)
        return f"Schedule {name} goes on, with the next due time."


def remove(engine: Engine, person_id: int, name: str) -> str:
    with acting(engine, person_id) as (session, actor):
        schedules.remove(session, name, actor)
        return f"Schedule {name} is removed; its runs stay."


def start(engine: Engine, person_id: int, name: str) -> str:
    with acting(engine, person_id) as (session, actor):
        run = orders.start_schedule(session, name, actor)
        return f"Run {run.id} of schedule {name} is queued. A worker takes it: prefloop worker."
