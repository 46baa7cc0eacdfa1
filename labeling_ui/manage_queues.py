"""Queues: a table of them, one of them to fill, change or pause, and a form for a new one."""

from typing import Any

import streamlit as st
from sqlalchemy import Engine

from db.kinds import COMPARABLE
from db.tables import Queue
from db.words import QueueKind
from labeling_ui import manage, office_queues, tables
from labeling_ui.identity import Person
from labeling_ui.office_queues import QueueLine
from labeling_ui.tables import Bar, Mark

KINDS: dict[QueueKind, str] = {
    "pair": "pair: which of two answers is better",
    "ranking": "ranking: order two to eight answers",
    "rating": "rating: one answer, 1 to 5 by aspect",
    "thumbs": "thumbs: one answer, up or down",
    "edit": "edit: write the better answer",
    "demonstration": "demonstration: answer the prompt yourself",
}


def body(engine: Engine, person: Person) -> None:
    lines = office_queues.lines(engine, person.annotator_id)
    if lines:
        overview(lines)
        one_queue(engine, person, lines)
    else:
        first_steps(engine, person)
    with st.expander("new queue", expanded=not lines):
        new_queue()


def first_steps(engine: Engine, person: Person) -> None:
    supply = office_queues.supply(engine, person.annotator_id)
    manage.empty(
        "No queue yet, so nobody is asked anything",
        f"Import prompts, on the page prompts: {supply.prompts:,} to train on are in the store.",
        f"Let a version answer them, with prefloop generate: {supply.written:,} candidates are in the store. "
        "For demonstrations none are needed.",
        "Make a queue below, and fill it.",
    )


def overview(lines: list[QueueLine]) -> None:
    numbers = ["priority", "overlap", "open", "under way", "skipped", "flagged"]
    tables.table(
        "In the order in which they are asked. Judged: by people, of all that is wanted of them.",
        ["queue", "kind", "state", "judged", *numbers],
        [
            [
                line.queue.name,
                line.queue.kind,
                Mark("paused", "warn") if line.progress.paused else Mark("active", "good"),
                Bar(f"{line.progress.judged:,} of {line.progress.wanted:,}", line.judged_share, line.leased_share),
                f"{line.queue.priority}",
                f"{line.queue.overlap}",
                f"{line.open:,}",
                f"{line.progress.leased:,}",
                f"{line.progress.skipped:,}",
                f"{line.progress.flagged:,}",
            ]
            for line in lines
        ],
        numbers,
    )


def one_queue(engine: Engine, person: Person, lines: list[QueueLine]) -> None:
    by_id = {line.queue.id: line for line in lines}
    manage.section("one queue")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        queue_id = st.selectbox(
            "queue", list(by_id), format_func=lambda id_: by_id[id_].queue.name, key="queue", width=320
        )
        queue = by_id[queue_id].queue
        if queue.paused_at:
            manage.button("resume", lambda engine, who: office_queues.resume(engine, who, queue_id))
        else:
            manage.button("pause", lambda engine, who: office_queues.pause(engine, who, queue_id))
    filling, changing = st.tabs(["fill it", "change it"])
    with filling:
        fill(engine, person, queue)
    with changing:
        change(queue)


def fill(engine: Engine, person: Person, queue: Queue) -> None:
    supply = office_queues.supply(engine, person.annotator_id)
    needs_candidates = queue.kind != "demonstration"
    if needs_candidates and not supply.candidates:
        manage.remark("There is nothing to fill it with: no version has written candidates. Run: prefloop generate.")
        return
    manage.remark("Makes a question of every prompt to train on that has what it takes, and that is not asked already.")
    versions = {id_: f"{name} ({count:,})" for id_, name, count in supply.candidates}
    with st.form(f"fill-{queue.id}", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        version = category = None
        if needs_candidates:
            version = st.selectbox(
                "candidates of", [None, *versions], format_func=lambda id_: versions.get(id_, "any version"), width=220
            )
        category = st.selectbox(
            "category", [None, *supply.categories], format_func=lambda name: "any" if name is None else name, width=220
        )
        limit = st.number_input("at most", min_value=1, value=None, placeholder="all", width=150)
        if st.form_submit_button("fill", type="primary"):
            manage.submit(lambda engine, who: office_queues.fill(engine, who, queue.id, version, category, limit))


def change(queue: Queue) -> None:
    with st.form(f"change-{queue.id}", border=False):
        values = fields(queue.kind, queue, f"change-{queue.id}")
        if st.form_submit_button("save", type="primary"):
            manage.submit(lambda engine, who: office_queues.update(engine, who, queue.id, **values))


def new_queue() -> None:
    kind = st.selectbox("what is asked", list(KINDS), format_func=lambda kind: KINDS[kind], key="new-kind")
    with st.form(f"new-{kind}", border=False, clear_on_submit=False):
        name = st.text_input("name", max_chars=80, key="new-name")
        values = fields(kind, None, f"new-{kind}")
        if st.form_submit_button("make the queue", type="primary"):
            manage.submit(lambda engine, who: office_queues.create(engine, who, name, kind, **values))


def fields(kind: QueueKind, queue: Queue | None, key: str) -> dict[str, Any]:
    """The settings of a queue as fields, with the values that it has, and what they say now."""
    values: dict[str, Any] = {}
    values["guidelines"] = st.text_area(
        "guidelines, shown to annotators as plain text",
        queue.guidelines if queue else "",
        height=140,
        key=f"{key}-text",
    )
    if kind == "rating":
        said = st.text_input(
            "aspects to rate, between commas", ", ".join(queue.aspects or []) if queue else "", key=f"{key}-aspects"
        )
        values["aspects"] = office_queues.split_aspects(said)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        values["overlap"] = st.number_input(
            "overlap of new questions", 1, 99, queue.overlap if queue else 1, key=f"{key}-overlap", width=230
        )
        values["priority"] = st.number_input(
            "priority: higher comes first", -999, 999, queue.priority if queue else 0, key=f"{key}-priority", width=230
        )
    if kind in COMPARABLE:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            for share, label in (
                ("repeat_share", "% asked again, sides swapped"),
                ("gold_share", "% of which the answer is known"),
            ):
                now = round(100 * getattr(queue, share)) if queue else 0
                percent = st.number_input(label, 0, 50, now, key=f"{key}-{share}", width=230)
                values[share] = office_queues.share(percent)
    if kind == "pair":
        values["asks_strength"] = st.toggle(
            "also ask how much better: slightly, clearly, strongly",
            queue.asks_strength if queue else False,
            key=f"{key}-strength",
        )
    return values


manage.page("Queues", body)
