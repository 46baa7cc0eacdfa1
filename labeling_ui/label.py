"""The label page: one prompt, two answers side by side, one decision."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import streamlit as st
from sqlalchemy import Engine
from streamlit.delta_generator import DeltaGenerator

from db.engine import open_store
from db.errors import StoreError
from db.words import Choice
from labeling_ui import keys, launch, passage
from labeling_ui.desk import Answer, Question, Task
from labeling_ui.visit import Visit

LABELS: dict[Choice, str] = {"left": "left", "right": "right", "tie": "tie", "both_bad": "both bad", "skip": "skip"}
STYLE = Path(__file__).parent / "look.css"


def label_page() -> None:
    store_url = os.environ.get(launch.STORE_URL)
    if store_url is None:
        st.info("No store is given. Start with `python -m labeling_ui --store-url sqlite:///prefloop.db`.")
        return
    header = st.container(key="header", horizontal=True, vertical_alignment="center")
    try:
        visit = visit_of(name_field(header), store_url)
        outlived = visit.is_new
        task = visit.task()
    except StoreError as refusal:
        passage.show(f"{refusal}.", "refusal")
        return
    progress(header, visit)
    if task:
        prompt(task)
        answers(task)
    else:
        nothing_left(visit)
    pressed = decision(visit, task)
    # A new session knows no callbacks: what was pressed on a page that outlived its server is saved here.
    if outlived and pressed and task and pressed.question == task.question:
        visit.save(pressed)
        st.rerun()


def name_field(header: DeltaGenerator) -> str:
    """Who is labeling; the URL keeps it, so a reload does too."""
    default = os.environ.get(launch.ANNOTATOR) or "me"
    name = header.text_input(
        "who is labeling", default, max_chars=60, key="annotator", bind="query-params", icon=":material/person:",
        label_visibility="collapsed", width=170,
    )  # fmt: skip
    return name.strip() or default


def visit_of(name: str, store_url: str) -> Visit:
    visit: Visit | None = st.session_state.get("visit")
    if visit is None or visit.name != name:
        visit = st.session_state["visit"] = Visit(store(store_url), name)
    return visit


@st.cache_resource(show_spinner=False)
def store(url: str) -> Engine:
    return open_store(url)


def progress(header: DeltaGenerator, visit: Visit) -> None:
    header.markdown(f"{visit.owed():,} left", width="content")
    with header.container(key="receipt", width="stretch"):
        if visit.note:
            passage.show(visit.note, "note")
        elif visit.changing and visit.last:
            st.markdown(f"your answer was **{LABELS[visit.last.answer.choice]}**: choose again, or keep it")
        elif visit.receipt:
            st.markdown(f":green[saved {visit.receipt.count:,} ✓]")
        else:
            st.markdown("&nbsp;")  # keeps its place
    header.button(
        ("keep my answer" if visit.changing else "change my last answer") + f" &nbsp;`{keys.UNDO_KEY}`",
        key="undo-button",
        type="tertiary",
        disabled=visit.last is None,
        on_click=visit.change_last,
    )


def prompt(task: Task) -> None:
    with st.container(key="prompt", gap="xxsmall"):
        for number, message in enumerate(task.messages):
            with st.container(key=f"turn-{number}", horizontal=True):
                st.text(message["role"], width=72)
                with st.container(width="stretch"):
                    passage.show(message["content"], f"{task.question.key}-turn-{number}")


def answers(task: Task) -> None:
    with st.container(key="answers"):
        for number, (column, text) in enumerate(zip(st.columns(len(task.texts)), task.texts, strict=True)):
            with column.container(border=True, height="stretch"):
                passage.show(text, f"{task.question.key}-{number}")


def decision(visit: Visit, task: Task | None) -> Answer | None:
    """The bar of choices, by mouse or key. Returns the answer that this run was started by, if it was."""

    def press(answer: Answer) -> None:
        visit.press(with_reason(answer))

    question = task.question if task else None
    choices = offered(task)
    clicked = choice_bar(visit, question, choices, press) if question else None
    heard = keys.listen(question, choices, on_press=press, on_undo=visit.change_last)
    pressed = clicked or heard
    return with_reason(pressed) if pressed else None


def choice_bar(
    visit: Visit, question: Question, choices: list[Choice], press: Callable[[Answer], None]
) -> Answer | None:
    before = visit.last.answer if visit.changing and visit.last else None
    clicked = None
    with st.container(key="choices", horizontal=True, vertical_alignment="center"):
        for choice in choices:
            answer = Answer(question, choice)
            if st.button(
                f"{LABELS[choice]} &nbsp;`{keys.OF_CHOICE[choice]}`",
                key=f"{choice}-{question.key}",
                type="primary" if before and before.choice == choice else "secondary",
                on_click=press,
                args=(answer,),
            ):
                clicked = answer
        st.text_input(
            "why?",
            before.rationale if before else "",
            key=reason_key(question),
            placeholder="why? (optional)",
            label_visibility="collapsed",
            on_change="ignore",  # it goes with the choice
        )
    return clicked


def offered(task: Task | None) -> list[Choice]:
    """What can be said here: this page shows pairs, and more than two answers can only be skipped."""
    if task is None:
        return []
    return list(LABELS) if len(task.texts) == 2 else ["skip"]


def reason_key(question: Question) -> str:
    return f"why-{question.key}"


def with_reason(answer: Answer) -> Answer:
    return replace(answer, rationale=st.session_state.get(reason_key(answer.question), "").strip())


def nothing_left(visit: Visit) -> None:
    with st.container(key="empty"):
        st.subheader("Nothing left to label")
        if owed := visit.owed():
            st.markdown(f"All that is asked of you is done. {owed:,} judgments are owed by other annotators.")
        else:
            st.markdown("Every pair has its judgments. Thank you.")
        st.markdown(
            "Next: train on what was said with `prefloop train dpo`, "
            "or make new pairs with `prefloop generate` and come back."
        )
        st.button("look again", key="look-again")


st.set_page_config(page_title="prefloop · label", layout="wide")
st.html(STYLE)
label_page()
