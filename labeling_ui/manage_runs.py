"""Runs: what is under way, what it costs and what it has made; to start, to cancel and to try again."""

from typing import get_args

import streamlit as st
from sqlalchemy import Engine

from db.errors import StoreError
from db.run_facts import RunFacts, RunPage, StageFacts
from db.words import RunState
from labeling_ui import charts, manage, office_runs, tables
from labeling_ui.identity import Person
from labeling_ui.tables import Bar, Cell, Mark, Tone

PAGE_KEY = "runs-page"
RUN = "run"  # the query parameter that names the one that is shown
CHOSEN = "run-chosen"
AGAIN, LISTED = 2.0, 5.0  # seconds between two looks at the run that is shown, and at the list
CURVES = 4  # that are shown at once
LINES = 12  # of the log, likewise

STATES: dict[RunState, Tone] = {
    "queued": "quiet", "running": "warn", "finished": "good", "failed": "bad", "cancelled": "quiet"
}  # fmt: skip
SIGNS: dict[str, tuple[str, Tone]] = {
    "done": ("✓", "good"), "under way": ("▸", "warn"), "to come": ("·", "quiet"), "failed": ("✗", "bad"),
    "cancelled": ("✗", "quiet"),
}  # fmt: skip


def body(engine: Engine, person: Person) -> None:
    state = st.segmented_control(
        "state", get_args(RunState), key="state", bind="query-params", on_change=back_to_the_start
    )
    found = manage.paged(
        lambda number: office_runs.page(engine, person.annotator_id, state, number), PAGE_KEY, office_runs.RUNS
    )
    if found.total:
        overview(engine, person, state, found)
    elif state is None:
        nothing_yet()
    else:
        manage.remark(f"No run is {state}.")
    start(engine, person)
    if found.rows:
        one_run(engine, person, found.rows)


def back_to_the_start() -> None:
    st.session_state.pop(PAGE_KEY, None)


def nothing_yet() -> None:
    manage.empty(
        "Nothing has run yet",
        "Make a schedule on the page schedules, or run a recipe at once: prefloop run.",
        "A worker does what is queued: prefloop worker --tick, on the machine with the device.",
        "What it does is here then, stage by stage.",
    )


def overview(engine: Engine, person: Person, state: RunState | None, found: RunPage) -> None:
    number = st.session_state.get(PAGE_KEY, 1)

    def listed() -> None:
        shown = office_runs.page(engine, person.annotator_id, state, number)
        if standing(shown.rows) != standing(found.rows):
            st.rerun()  # buttons and choices are about what has changed
        tables.table(
            f"{shown.total:,} {'run' if shown.total == 1 else 'runs'}, newest first: recipes with their stages, and "
            "stages that were run by hand",
            ["run", "state", "stages", "started", "device time", "made", "why"],
            [
                [
                    f"{run.id} · {run.what}",
                    Mark(run.state, STATES[run.state]),
                    steps(run),
                    manage.when(run.started_at) if run.started_at else None,
                    None if run.seconds is None else manage.duration(run.seconds),
                    run.version,
                    manage.one_line(run.why),
                ]
                for run in shown.rows
            ],
            ["device time"],
        )

    manage.live(listed, person, LISTED if any(not run.is_over for run in found.rows) else None)
    manage.page_chooser(found.total, PAGE_KEY, office_runs.RUNS)


def standing(rows: list[RunFacts]) -> list[tuple[int, RunState]]:
    return [(run.id, run.state) for run in rows]


def steps(run: RunFacts) -> Cell:
    if not run.is_recipe:
        return None
    return tuple(Mark(f"{SIGNS[each.state][0]} {each.stage}", SIGNS[each.state][1]) for each in run.stages)


def start(engine: Engine, person: Person) -> None:
    choices = office_runs.startable(engine, person.annotator_id)
    if not choices:
        return
    with st.expander("run now"):
        chosen = st.selectbox("what", choices, format_func=lambda each: each.title, key="run-now", width=420)
        manage.remark("On what is labeled by now, with today's settings. It takes a worker's device until it is done.")
        manage.button("run it now", lambda engine, who: office_runs.start(engine, who, chosen), type="primary")


def one_run(engine: Engine, person: Person, rows: list[RunFacts]) -> None:
    manage.section("one run")
    named = {run.id: f"{run.id} · {run.what} · {run.state}" for run in rows}
    asked = st.query_params.get(RUN, "")
    if asked.isdecimal() and int(asked) not in named:
        try:
            run = office_runs.one(engine, person.annotator_id, int(asked))
            named[run.id] = f"{run.id} · {run.what} · {run.state}"
        except StoreError:
            st.query_params.pop(RUN)
    ids = list(named)
    run_id = st.selectbox(
        "run",
        ids,
        ids.index(int(asked)) if asked.isdecimal() and int(asked) in named else 0,
        format_func=lambda id_: named.get(id_, f"{id_}"),
        key=CHOSEN,
        on_change=lambda: st.query_params.update({RUN: f"{st.session_state[CHOSEN]}"}),
        width=320,
    )
    drawn = office_runs.one(engine, person.annotator_id, run_id)

    def shown() -> None:
        run = office_runs.one(engine, person.annotator_id, run_id)
        if run.state != drawn.state:
            st.rerun()
        show(engine, person, run)

    manage.live(shown, person, None if drawn.is_over else LISTED if drawn.state == "queued" else AGAIN)
    acts(drawn)


def show(engine: Engine, person: Person, run: RunFacts) -> None:
    tables.facts(("state", state(run), run.why), *under_way(run), *cost(run))
    for said in remarks(run):
        manage.remark(said)
    if run.error:
        tables.label("error")
        manage.plain(run.error, f"error-{run.id}")
    stages(run)
    figures(engine, person, run)
    log(run)


def log(run: RunFacts) -> None:
    """The end of what the stage at work has written, or the last one that was."""
    lines = run.log_tail.splitlines()
    if not lines:
        return
    tables.label("the log's last lines" + ("" if run.is_over else f", as of {manage.when(run.heard_at)}"))
    more = len(lines) > LINES and st.toggle(f"all {len(lines)} lines that are kept", key=f"log-{run.id}")
    st.code("\n".join(lines if more else lines[-LINES:]), language=None, wrap_lines=True)
    manage.remark(f"All of it: prefloop runs logs {run.id}, where the workspace is.")


def state(run: RunFacts) -> Cell:
    if run.is_silent:
        return Mark("running, not heard of", "bad")
    if run.cancel_requested and not run.is_over:
        return Mark("being cancelled", "warn")
    return Mark(run.state, STATES[run.state])


def under_way(run: RunFacts) -> list[tuple[str, Cell, str]]:
    at = run.under_way
    if run.is_over or run.is_silent or at is None:
        return []
    about = at.progress.said if at.progress else ""
    return [
        ("stage", at.stage, about),
        ("this stage", left(at.seconds_left), ""),
        ("the whole run", left(run.seconds_left), "" if run.seconds_left is not None else unknown(run)),
    ]


def left(seconds: float | None) -> Cell:
    if seconds is None:
        return Mark("unknown", "quiet")
    return f"{manage.duration(seconds)} left" if seconds >= 1 else "any moment"


def unknown(run: RunFacts) -> str:
    """Why nobody can say when it ends."""
    names = [each.stage for each in run.stages if each.state in ("under way", "to come") and each.seconds_left is None]
    return f"no finished run tells how long {', '.join(names)} takes"


def cost(run: RunFacts) -> list[tuple[str, Cell, str]]:
    facts: list[tuple[str, Cell, str]] = []
    if run.seconds is not None:
        facts.append(("device time", manage.duration(run.seconds), run.device or ""))
    if run.tokens is not None:
        facts.append(("tokens trained on", f"{run.tokens:,}", ""))
    if run.peak_memory_bytes is not None:
        facts.append(("peak memory", f"{run.peak_memory_bytes / 1e9:.2f} GB", ""))
    if run.watt_hours is not None:
        facts.append(("energy, estimated", f"{run.watt_hours:,.2g} Wh", "device time × worker.watts"))
    return facts


def remarks(run: RunFacts) -> list[str]:
    said = []
    if run.state == "queued" and run.not_before is not None:
        said.append(f"Attempt {run.attempt}, not before {manage.when(run.not_before)}.")
    elif run.state == "queued":
        said.append(f"Queued since {manage.when(run.created_at)}. The next free worker takes it: prefloop worker.")
    if run.is_silent:
        said.append(f"Its worker was last heard of {manage.when(run.heard_at)}; the next one takes the run over.")
    if run.attempt > 1 and run.state != "queued":
        said.append(f"This is attempt {run.attempt}; what was finished before was not done again.")
    return said


def stages(run: RunFacts) -> None:
    """What was begun as a table, and what is to come in a line."""
    tables.table(
        f"Queued {manage.when(run.created_at)}"
        + (f", begun {manage.when(run.started_at)}" if run.started_at else "")
        + (f", over {manage.when(run.finished_at)}" if run.finished_at else ""),
        ["stage", "state", "what came of it", "device time", "tokens", "peak memory", "record"],
        [
            [
                each.stage,
                Mark(f"{SIGNS[each.state][0]} {each.state}", SIGNS[each.state][1]),
                progress(each),
                None if each.seconds is None else manage.duration(each.seconds),
                None if each.tokens is None else f"{each.tokens:,}",
                None if each.peak_memory_bytes is None else f"{each.peak_memory_bytes / 1e9:.2f} GB",
                None if each.run_id is None else f"run {each.run_id}",
            ]
            for each in run.stages
            if each.state != "to come"
        ],
        ["device time", "tokens", "peak memory"],
    )
    if ahead := [each for each in run.stages if each.state == "to come"]:
        manage.remark(f"{'Not begun' if run.is_over else 'To come'}: {', '.join(map(usually, ahead))}.")


def usually(stage: StageFacts) -> str:
    """Its name, and how long it takes where that is known."""
    return stage.stage if stage.seconds_left is None else f"{stage.stage} (about {manage.duration(stage.seconds_left)})"


def progress(stage: StageFacts) -> Cell:
    at = stage.progress
    if stage.state == "done" or at is None:
        return stage.came_of_it or None
    if not at.total:
        return Mark(f"{at.what}: loading", "quiet")
    figure = f", {at.said}" if at.said else ""
    return Bar(f"{at.what}: {at.done:,} of {at.total:,} {at.unit}{figure}", at.done / at.total)


def figures(engine: Engine, person: Person, run: RunFacts) -> None:
    """The curves of the stage at work, or of the last that was measured; another one on request."""
    recorded = [each for each in run.stages if each.run_id is not None]
    for stage in reversed(recorded):
        assert stage.run_id is not None, "these have a record"
        found = office_runs.curves(engine, person.annotator_id, stage.run_id)
        if found:
            break
    else:
        return
    names = list(found)
    tables.label(f"{stage.stage}, step by step")
    draw(found, names[:CURVES], stage)
    if names[CURVES:] and st.toggle(f"all {len(names)} figures", key=f"all-figures-{stage.run_id}"):
        draw(found, names[CURVES:], stage)


def draw(found: office_runs.Curves, names: list[str], stage: StageFacts) -> None:
    for column, name in zip(st.columns(CURVES) * len(names), names, strict=False):
        with column:
            tables.label(name)
            said = f"{name} over {len(found[name])} steps, {found[name][-1][1]:.3g} at the last."
            st.altair_chart(charts.curve(found[name], name), alt=said, key=f"curve-{stage.run_id}-{name}")


def acts(run: RunFacts) -> None:
    if run.version is not None and st.button(f"see {run.version} among the versions", key=f"see-{run.id}"):
        st.switch_page("manage_versions.py")
    if not run.is_recipe:
        return
    if not run.is_over:
        with st.expander(f"cancel run {run.id}"):
            manage.remark("Its stage ends within seconds. What is finished is kept, and a retry goes on from there.")
            manage.button(f"cancel run {run.id} now", lambda engine, who: office_runs.cancel(engine, who, run.id))
        return
    with st.expander(f"try run {run.id} again"):
        manage.remark("The same recipe on what is labeled by now, with today's settings.")
        manage.button("retry", lambda engine, who: office_runs.retry(engine, who, run.id, same=False), key="retry")
        if run.can_be_replayed:
            manage.remark(
                "Or on the very snapshots, settings, seeds and parents of this run: what it finished is read, not done "
                "again, and the rest comes out as it would have."
            )
            manage.button(
                "retry the same", lambda engine, who: office_runs.retry(engine, who, run.id, same=True), key="same"
            )


manage.page("Runs", body)
