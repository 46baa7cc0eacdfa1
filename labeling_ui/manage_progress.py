"""Progress: what is left and when it will be done, by queue and by annotator."""

import streamlit as st
from sqlalchemy import Engine

from db.words import AnnotatorKind
from labeling_ui import charts, manage, office_progress, office_queues, tables
from labeling_ui.identity import Person
from labeling_ui.office_progress import BurnDown
from labeling_ui.pace import Pace
from labeling_ui.tables import Bar, Cell, Mark

SPANS = {"last day": 1, "last 7 days": 7, "all": None}


def body(engine: Engine, person: Person) -> None:
    queues = office_queues.lines(engine, person.annotator_id)
    if not any(line.progress.comparisons for line in queues):
        manage.empty(
            "Nothing is asked yet, so there is no progress to show",
            "Make a queue on the page queues, and fill it.",
            "Then let people label: this page shows what is left, and when it will be done.",
        )
        return
    burn_down(engine, person, {line.queue.id: line.queue.name for line in queues})
    by_queue(queues)
    over_time(engine, person)
    by_annotator(engine, person)


def burn_down(engine: Engine, person: Person, queues: dict[int, str]) -> None:
    queue_id = st.selectbox(
        "queue", [None, *queues], format_func=lambda id_: "all queues" if id_ is None else queues[id_], width=320
    )
    found = office_progress.burn_down(engine, person.annotator_id, queue_id)
    tables.facts(
        ("owed by people", f"{found.owed:,} judgments"),
        ("pace", *pace(found.pace)),
        ("time left", *time_left(found)),
        ("expected finish", *finish(found)),
    )
    if found.points:
        st.altair_chart(
            charts.burn_down(found.points), alt=f"Judgments owed over time: {found.owed:,} now.", key="burn-down"
        )
    else:
        manage.remark(nothing_to_draw(found))


def nothing_to_draw(found: BurnDown) -> str:
    if found.since is None:
        return "Nothing is asked here, so nothing is owed: fill the queue on the page queues."
    if not found.judged:
        return f"Asked since {manage.when(found.since)}, and nobody has answered yet: a line begins when somebody does."
    return "The first questions were asked a moment ago: the line begins when there are three minutes to show."


def pace(pace: Pace | None) -> tuple[Cell, str]:
    if pace is None:
        return Mark("no pace yet", "quiet"), "it takes half an hour of labeling in the last 7 days"
    return f"{pace.per_hour:.0f} an hour", f"in the last {pace.active_hours:.1f} h in which anybody labeled"


def time_left(found: BurnDown) -> tuple[Cell, str]:
    if not found.owed:
        return Mark("done", "good"), ""
    if found.pace is None:
        return None, ""
    hours = "less than an hour" if found.pace.hours_left < 1 else f"about {found.pace.hours_left:,.0f} h"
    return hours, "of labeling, at this pace"


def finish(found: BurnDown) -> tuple[Cell, str]:
    if not found.owed:
        return Mark("done", "good"), ""
    if found.pace is None or found.pace.finish is None:
        return None, "known after a day"
    day = f"{found.pace.finish.astimezone(manage.timezone()):%a %d %b %Y}"
    return day, "at this pace, with as many hours a day as in the last 7 days"


def by_queue(lines: list[office_queues.QueueLine]) -> None:
    manage.section("by queue")
    tables.table(
        "Judgments of people, of all that is wanted of them. Under way: shown to somebody at this moment.",
        ["queue", "judged", "under way", "open", "state"],
        [
            [
                line.queue.name,
                Bar(f"{line.progress.judged:,} of {line.progress.wanted:,}", line.judged_share, line.leased_share),
                f"{line.progress.leased:,}",
                f"{line.open:,}",
                Mark("paused", "warn") if line.progress.paused else Mark("active", "good"),
            ]
            for line in lines
        ],
        ["under way", "open"],
    )


def over_time(engine: Engine, person: Person) -> None:
    manage.section("over time")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        span = st.segmented_control("span", list(SPANS), default="last 7 days", label_visibility="collapsed")
        simulated = st.toggle("simulated annotators too", key="simulated")
    kinds: list[AnnotatorKind] = ["human", "simulated"] if simulated else ["human"]
    found = office_progress.bars(engine, person.annotator_id, kinds, SPANS[span or "last 7 days"])
    if found.slots:
        total = sum(slot.judgments for _, slot in found.slots)
        st.altair_chart(charts.bars(found), alt=f"Judgments by {found.grain}: {total:,} in all.", key="over-time")
    else:
        manage.remark("Nobody judged anything in this time.")


def by_annotator(engine: Engine, person: Person) -> None:
    manage.section("by annotator")
    found = office_progress.annotators(engine, person.annotator_id, st.session_state["simulated"])
    tables.table(
        "Judgments so far, hidden questions included; those who have withdrawn are left out",
        ["annotator", "judged", "skipped or flagged", "median time", "last seen"],
        [
            [
                each.name if each.kind == "human" else Mark(f"{each.name} (simulated)", "quiet"),
                f"{each.judgments:,}",
                f"{each.skipped:,}",
                None if each.median_response_ms is None else f"{each.median_response_ms / 1000:.1f} s",
                manage.when(each.last_seen),
            ]
            for each in found
        ],
        ["judged", "skipped or flagged", "median time"],
    )


manage.page("Progress", body)
