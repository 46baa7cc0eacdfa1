"""The playground: type a prompt, read two versions' answers without knowing whose they are, say which is better."""

import time
from functools import partial

import streamlit as st
from sqlalchemy import Engine

from db.words import Choice
from labeling_ui import manage, office_playground, tables
from labeling_ui.identity import Person
from labeling_ui.office_playground import Trial

VERDICTS: dict[Choice, str] = {
    "left": "left is better",
    "right": "right is better",
    "tie": "tie",
    "both_bad": "both bad",
}
_TRIAL, _SINCE = "playground-trial", "playground-since"


def body(engine: Engine, person: Person) -> None:
    manage.remark(
        "Two versions answer, in random order. Your vote is kept as evidence about them, with the prompt and both "
        "answers; nothing of it is trained on, and the prompt is asked of nobody else. Then you learn who was who."
    )
    if (trial := st.session_state.get(_TRIAL)) is None:
        prompt(office_playground.names(engine, person.annotator_id))
    else:
        decide(trial)


def prompt(names: list[str]) -> None:
    if len(names) < 2:
        manage.empty("There is one version only", "Train another: prefloop loop.")
        return
    with st.form("ask", border=False):
        text = st.text_area("prompt", key="playground-text", max_chars=8_000)
        with st.container(horizontal=True):
            one = st.selectbox("one version", names, index=0, width=150)
            other = st.selectbox("the other", names, index=1, width=150)
            temperature = st.number_input("temperature; 0 is greedy", 0.0, 2.0, 0.9, 0.1, width=190)
            most = st.number_input("tokens at most", 1, 1_024, 128, width=150)
        if st.form_submit_button("ask both", type="primary"):
            manage.submit(partial(_ask, one, other, text, temperature, most))


def _ask(one: str, other: str, text: str, temperature: float, most: int, engine: Engine, who: int) -> str:
    with st.spinner("both are answering"):
        st.session_state[_TRIAL] = office_playground.ask(engine, who, (one, other), text, temperature, most)
    st.session_state[_SINCE] = time.monotonic()
    return "Both have answered."


def decide(trial: Trial) -> None:
    manage.turn(trial.messages[-1], "playground-prompt")
    for name, answer, column in zip(("left", "right"), (trial.left, trial.right), st.columns(2), strict=True):
        with column, st.container(border=True):
            tables.label(name)
            manage.plain(answer.text, f"playground-{name}")
    with st.container(horizontal=True):
        for choice, words in VERDICTS.items():
            manage.button(words, partial(_decide, trial, choice))
        st.button("throw away", on_click=_forget)


def _decide(trial: Trial, choice: Choice, engine: Engine, who: int) -> str:
    elapsed = int((time.monotonic() - st.session_state[_SINCE]) * 1000)
    told = office_playground.decide(engine, who, trial, choice, elapsed)
    _forget()
    return told


def _forget() -> None:
    st.session_state.pop(_TRIAL, None)


manage.page("Playground", body)
