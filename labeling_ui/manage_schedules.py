"""Schedules: when runs start by themselves, why they wait, and making, pausing and removing them."""

import json
from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo, available_timezones

import streamlit as st
from sqlalchemy import Engine

from db.columns import JsonObject
from labeling_ui import manage, office_schedules, tables, upload
from labeling_ui.identity import Person
from labeling_ui.office_schedules import Checked, Draft, ScheduleLine
from labeling_ui.tables import Cell, Mark

SCHEDULE = "schedule"  # the query parameter that names the one that is shown
BUILT_IN, TOML = "the built-in one", "TOML of my own"
_ADDED = "new-schedule-round"  # how many were added: their fields are empty again


def body(engine: Engine, person: Person) -> None:
    lines = office_schedules.lines(engine, person.annotator_id)
    if lines:
        overview(lines)
    else:
        manage.empty(
            "There is no schedule yet, so nothing runs by itself",
            "Make one below: due times, or a trigger such as 100 new agreed pairs.",
            "Let a worker tick and do the runs: prefloop worker --tick, on the machine with the device.",
            "Why a schedule starts nothing is here then, tick by tick.",
        )
    with st.expander("new schedule", expanded=not lines):
        new_schedule(engine, person, lines)
    if lines:
        one_schedule(engine, person, lines)


def overview(lines: list[ScheduleLine]) -> None:
    tables.table(
        "Of due times that pass while nobody ticks, one is made up for.",
        ["schedule", "state", "starts", "next", "last run", "why it waits"],
        [
            [
                line.schedule.name,
                state(line),
                line.starts,
                on_both_clocks(line.due[0], line.schedule.timezone) if line.due else None,
                f"run {line.last.id}, {line.last.state}" if line.last else None,
                line.waits,
            ]
            for line in lines
        ],
    )


def state(line: ScheduleLine) -> Cell:
    return Mark("paused", "warn") if line.schedule.paused_at else Mark("active", "good")


def on_both_clocks(moment: datetime, timezone: str) -> str:
    """As the schedule's zone shows it, and as the reader's does where that differs."""
    theirs = f"{moment.astimezone(ZoneInfo(timezone)):%a %d %b %H:%M} {timezone}"
    if moment.astimezone(ZoneInfo(timezone)).utcoffset() == moment.astimezone(manage.timezone()).utcoffset():
        return theirs
    return f"{theirs}; for you {moment.astimezone(manage.timezone()):%a %d %b %H:%M}"


def one_schedule(engine: Engine, person: Person, lines: list[ScheduleLine]) -> None:
    manage.section("one schedule")
    by_name = {line.schedule.name: line for line in lines}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("schedule", list(by_name), key=SCHEDULE, bind="query-params", width=320)
        line = by_name[name]
        if line.schedule.paused_at:
            manage.button("resume", lambda engine, who: office_schedules.resume(engine, who, name))
        else:
            manage.button("pause", lambda engine, who: office_schedules.pause(engine, who, name))
    with st.expander(f"run {name} now"):
        manage.remark("Whatever its triggers say. It takes a worker's device until it is done.")
        manage.button(
            "run it now", lambda engine, who: office_schedules.start(engine, who, name), type="primary", key="run-now"
        )
    with st.expander(f"remove {name}"):
        manage.remark("It starts nothing any more, and its name is free. Its runs stay.")
        manage.button(f"remove schedule {name}", lambda engine, who: office_schedules.remove(engine, who, name))
    if line.due:
        due_times(line.due, line.schedule.timezone)
    recipe(line.schedule.recipe)
    why_not(engine, person, name)


def due_times(due: Sequence[datetime], timezone: str) -> None:
    tables.label(f"the next {len(due)} due times")
    st.html("<br>".join(tables.text(on_both_clocks(moment, timezone)) for moment in due))


def recipe(found: JsonObject) -> None:
    tables.label(f"recipe: {' → '.join(stage['stage'] for stage in found['stages'])}")
    with st.expander("the whole recipe"):
        st.code(json.dumps(found, indent=2, ensure_ascii=False), language=None, wrap_lines=True)


def why_not(engine: Engine, person: Person, name: str) -> None:
    found = office_schedules.waits(engine, person.annotator_id, name)
    tables.label("why nothing was started")
    if not found:
        manage.remark("Nobody has ticked since it was made, or every tick started a run.")
        return
    tables.table(
        "Newest first; ticks in a row that say the same are one line",
        ["from", "to", "ticks", "reason"],
        [[manage.when(row.first_at), manage.when(row.last_at), f"{row.ticks:,}", row.reason] for row in found],
        ["ticks"],
    )


def new_schedule(engine: Engine, person: Person, lines: list[ScheduleLine]) -> None:
    key = f"new-{st.session_state.get(_ADDED, 0)}"
    draft = fields(key, {line.schedule.name: line.schedule.recipe for line in lines})
    checked = office_schedules.check(engine, person.annotator_id, draft)
    untouched = not draft.name and draft.when == Draft("", "", draft.timezone, 0, False, False, "").when
    if not untouched:
        preview(draft, checked)
    manage.button("add the schedule", lambda engine, who: add(engine, who, draft), type="primary", key=f"{key}-add")


def add(engine: Engine, who: int, draft: Draft) -> str:
    said = office_schedules.add(engine, who, draft)
    st.session_state[_ADDED] = st.session_state.get(_ADDED, 0) + 1
    return said


def fields(key: str, recipes: dict[str, JsonObject]) -> Draft:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("name", max_chars=80, key=f"{key}-name", width=220)
        cron = st.text_input(
            "due times: minute hour day month weekday", placeholder="0 3 * * *", key=f"{key}-cron", width=300
        )
        zones = sorted(available_timezones())
        timezone = st.selectbox(
            "time zone of the due times", zones, zones.index(manage.timezone().key), key=f"{key}-zone", width=260
        )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        new_pairs = st.number_input("new agreed pairs, at least; 0: do not ask", 0, key=f"{key}-pairs", width=300)
        reward_older = st.toggle("a reward model older than its data", key=f"{key}-older")
        stale = st.toggle("a stale version", key=f"{key}-stale")
    manage.remark(
        "With due times, triggers are asked at due times, and one that is met suffices. Without due times they are "
        "asked at every tick."
    )
    copied = {f"that of {name}": recipe for name, recipe in recipes.items()}
    chosen = st.selectbox("recipe", [BUILT_IN, *copied, TOML], key=f"{key}-recipe", width=320)
    recipe: str | JsonObject = copied.get(chosen) or office_schedules.built_in()
    if chosen == TOML:
        recipe = own_recipe(key)
    return Draft(name, cron, timezone, new_pairs, reward_older, stale, recipe)


def own_recipe(key: str) -> str:
    """TOML from a file, or as it is typed; the built-in recipe to begin with."""
    file = upload.file("a recipe's TOML file", ["toml"], key=f"{key}-file", megabytes=1)
    if file is not None:
        return file.getvalue().decode(errors="replace")
    return st.text_area("TOML", office_schedules.built_in(), height=340, key=f"{key}-toml")


def preview(draft: Draft, checked: Checked) -> None:
    """What would become of it."""
    if checked.starts:
        tables.label(f"starts {checked.starts}")
    if checked.due:
        due_times(checked.due, draft.timezone)
    if checked.recipe is not None:
        tables.label(f"does {' → '.join(stage.stage for stage in checked.recipe.stages)}")
    if checked.faults:
        tables.label("to mend first")
        for fault in checked.faults:
            manage.remark(f"– {fault}")


manage.page("Schedules", body)
