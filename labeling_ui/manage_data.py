"""Data: judgments by filter, newest first, one of them in full, and all that are found as a file."""

from typing import TypeVar, get_args

import pandas as pd
import streamlit as st
from sqlalchemy import Engine

from db.browse import Line, Wanted
from db.export import Format
from db.words import Choice, Purpose
from labeling_ui import manage, manage_judgment, office_data
from labeling_ui.identity import Person

Key = TypeVar("Key")

PAGE_KEY = "data-page"
JUDGMENT = "judgment"  # the query parameter that names the one that is shown


def body(engine: Engine, person: Person) -> None:
    wanted = filters(engine, person)
    found = manage.paged(lambda page: office_data.page(engine, person.annotator_id, wanted, page), PAGE_KEY)
    if found.total:
        manage.remark(f"{found.total:,} judgments, newest first. Choose a row by its left edge, to see all of it.")
        choose(found.rows)
        with st.container(horizontal=True, vertical_alignment="center"):
            manage.page_chooser(found.total, PAGE_KEY)
            download(engine, person, wanted)
    elif wanted == Wanted(annotator_kind="human"):
        manage.empty(
            "No person has judged anything yet",
            "Fill a queue on the page queues, and let people label.",
            "Simulated annotators are shown by the switch above.",
        )
    else:
        manage.remark("No judgment fits.")
    chosen = st.query_params.get(JUDGMENT, "")
    if chosen.isdecimal():
        manage_judgment.show(engine, person, int(chosen))


def filters(engine: Engine, person: Person) -> Wanted:
    choices = office_data.choices(engine, person.annotator_id)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        queue_id = pick("queue", choices.queues)
        annotator_id = pick("annotator", choices.annotators)
        choice = pick("choice", {choice: choice.replace("_", " ") for choice in get_args(Choice)})
        purpose = pick("purpose", {purpose: purpose for purpose in get_args(Purpose)})
        round_id = pick("round", choices.rounds) if choices.rounds else None
        text = st.text_input("with the text", key="with-text", width=220, on_change=back_to_the_start)
        flagged = st.toggle("flagged", key="flagged", on_change=back_to_the_start)
        simulated = st.toggle("simulated too", key="simulated-data", on_change=back_to_the_start)
    return Wanted(
        queue_id=queue_id,
        annotator_id=annotator_id,
        annotator_kind=None if simulated else "human",
        choice="flag" if flagged else choice,
        purpose=purpose,
        round_id=round_id,
        text=text,
    )


def pick(name: str, options: dict[Key, str]) -> Key | None:
    return st.selectbox(
        name,
        [None, *options],
        format_func=lambda key: "any" if key is None else options[key],
        key=f"with-{name}",
        width=170,
        on_change=back_to_the_start,
    )


def back_to_the_start() -> None:
    """Another filter: the first page, and none of its judgments chosen."""
    st.session_state.pop(PAGE_KEY, None)
    st.query_params.pop(JUDGMENT, None)


def choose(rows: list[Line]) -> None:
    """The rows as a grid. The key holds the ids: a choice is about these judgments and no others."""
    ids = [row.judgment_id for row in rows]
    key = "judgments-" + ",".join(map(str, ids))

    def remember() -> None:
        chosen = st.session_state[key].selection.rows
        if chosen:
            st.query_params[JUDGMENT] = f"{ids[chosen[0]]}"
        else:
            st.query_params.pop(JUDGMENT, None)

    shown = pd.DataFrame(
        [
            {
                "id": row.judgment_id,
                "at": row.created_at,
                "annotator": manage.one_line(row.annotator),
                "said": row.choice.replace("_", " "),
                "queue": manage.one_line(row.queue),
                "purpose": row.purpose,
                "prompt": manage.one_line(row.messages[-1]["content"]),
                "why": manage.one_line(row.rationale or row.reason or ""),
                "corrected": row.is_correction,
            }
            for row in rows
        ]
    )
    st.dataframe(
        shown,
        hide_index=True,
        height=400,
        on_select=remember,
        selection_mode="single-row",
        column_config={
            "at": st.column_config.DatetimeColumn(format="D MMM HH:mm", timezone=str(manage.timezone())),
            "prompt": st.column_config.TextColumn(width="medium"),
        },
        key=key,
        alt="Judgments",
    )


def download(engine: Engine, person: Person, wanted: Wanted) -> None:
    format: Format = st.segmented_control(
        "format", get_args(Format), default="jsonl", label_visibility="collapsed", required=True
    )
    pseudonyms = st.toggle("number instead of name", value=True, key="pseudonyms")
    st.download_button(
        "download all that were found",
        lambda: office_data.file(engine, person.annotator_id, wanted, format, pseudonyms),
        f"judgments.{format}",
        "text/csv" if format == "csv" else "application/jsonl",
        on_click="ignore",
    )


manage.page("Data", body)
