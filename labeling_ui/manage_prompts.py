"""Prompts: import a file, look for prompts, and take single ones out of use."""

import pandas as pd
import streamlit as st
from sqlalchemy import Engine

from db.tables import Prompt
from db.words import Split
from labeling_ui import manage, office_prompts, tables, upload
from labeling_ui.identity import Person
from labeling_ui.office_prompts import Imported

SPLITS: dict[Split | None, str] = {None: "any", "train": "train", "heldout": "held out"}
_IMPORTED = "imported"
_BAD_SHOWN = 50  # lines


def body(engine: Engine, person: Person) -> None:
    counts = office_prompts.counts(engine, person.annotator_id)
    categories = office_prompts.categories(engine, person.annotator_id)
    tables.facts(("to train on", f"{counts['train']:,}"), ("held out, to compare versions", f"{counts['heldout']:,}"))
    if not categories:
        manage.empty(
            "No prompts yet",
            "Import a file below: txt with a prompt a line, csv with a column prompt, or jsonl.",
            "Or take those that ship with prefloop: prefloop prompts import.",
        )
    with st.expander("import a file", expanded=not categories):
        import_file()
    if _IMPORTED in st.session_state:
        imported(st.session_state[_IMPORTED])
    if categories:
        browse(engine, person, categories)


def import_file() -> None:
    manage.remark(
        "UTF-8. txt: a prompt a line. csv: a column prompt, and category if there is one. jsonl: prompt as text, or "
        "messages with role and content that end in a user turn. What is there already is not stored twice."
    )
    file = upload.file("file", ["txt", "csv", "jsonl"], key="file", megabytes=50)
    category = st.text_input("category of all of them; empty: as the file says", max_chars=60, key="import-category")
    if file is None:
        return

    def act(engine: Engine, who: int) -> str:
        st.session_state.pop(_IMPORTED, None)
        done = office_prompts.import_file(engine, who, file.name, file.getvalue(), category)
        st.session_state[_IMPORTED] = done
        return done.words

    manage.button("import", act, type="primary")


def imported(done: Imported) -> None:
    """The bad lines of the newest import, while this browser session lasts."""
    if done.bad:
        more = f"; the first {_BAD_SHOWN} of {len(done.bad):,}" if len(done.bad) > _BAD_SHOWN else ""
        tables.table(
            f"Lines that were left out{more}",
            ["line", "why"],
            [[f"{bad.number}", bad.reason] for bad in done.bad[:_BAD_SHOWN]],
        )


def browse(engine: Engine, person: Person, categories: list[str]) -> None:
    manage.section("prompts")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input("with the text", key="text", width=260)
        split = st.selectbox("split", list(SPLITS), format_func=lambda split: SPLITS[split], key="split", width=150)
        category = st.selectbox(
            "category",
            [None, *categories],
            format_func=lambda name: "any" if name is None else name or "(none)",
            key="category",
            width=220,
        )
        retired = st.toggle("retired ones", key="retired")
    found = manage.paged(
        lambda page: office_prompts.search(engine, person.annotator_id, text, split, category, retired, page),
        "prompts-page",
    )
    if not found.total:
        manage.remark("No retired prompt fits." if retired else "No prompt fits.")
        return
    manage.remark(f"{found.total:,} prompts, newest first. Choose rows by their left edge, to read or retire them.")
    chosen = choose(found.rows)
    manage.page_chooser(found.total, "prompts-page")
    if chosen:
        ids = [prompt.id for prompt in chosen]
        if retired:
            manage.button("bring back", lambda engine, who: office_prompts.bring_back(engine, who, ids))
        else:
            manage.button("retire", lambda engine, who: office_prompts.retire(engine, who, ids))
    for prompt in chosen:
        read(prompt)


def choose(rows: list[Prompt]) -> list[Prompt]:
    """The rows that are chosen. The key holds the ids: a choice is about these prompts and no others."""
    shown = pd.DataFrame(
        [
            {
                "id": row.id,
                "prompt": manage.one_line(row.messages[-1]["content"]),
                "turns": len(row.messages),
                "split": SPLITS[row.split],
                "category": manage.one_line(row.category),
                "source": manage.one_line(row.source),
            }
            for row in rows
        ]
    )
    state = st.dataframe(
        shown,
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        column_config={
            "prompt": st.column_config.TextColumn(width="large"),
            "id": st.column_config.NumberColumn(width=60),
        },
        key="prompts-" + ",".join(str(row.id) for row in rows),
        alt="Prompts",
    )
    return [rows[number] for number in state.selection.rows]


def read(prompt: Prompt) -> None:
    with st.container(border=True):
        manage.remark(f"prompt {prompt.id} · {SPLITS[prompt.split]} · imported {manage.when(prompt.created_at)}")
        for turn, message in enumerate(prompt.messages):
            manage.turn(message, f"prompt-{prompt.id}-{turn}")


manage.page("Prompts", body)
