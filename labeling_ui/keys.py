"""The keyboard of the label page: a component that has no look, only ears (see keys.js)."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import streamlit as st

from db.words import Choice
from labeling_ui.desk import Answer, Question
from labeling_ui.visit import MINIMUM_VIEW_MS

OF_CHOICE: dict[Choice, str] = {"left": "1", "right": "2", "tie": "0", "both_bad": "b", "skip": "s"}
UNDO_KEY = "u"

_KEY = "keyboard"
_component = st.components.v2.component("prefloop_keys", js=(Path(__file__).parent / "keys.js").read_text())


def listen(
    question: Question | None,
    choices: list[Choice],
    on_press: Callable[[Answer], None],
    on_undo: Callable[[], None],
) -> Answer | None:
    """Hear keys about this question. Returns the press that this run was started by, if it was."""

    def hear() -> None:
        if answer := _answer(st.session_state[_KEY].press):
            on_press(answer)

    actions: dict[str, str] = {OF_CHOICE[choice]: choice for choice in choices} | {UNDO_KEY: "undo"}
    heard = _component(
        key=_KEY,
        data={
            "question": question and {**asdict(question), "key": question.key},
            "actions": actions,
            "minimumMs": MINIMUM_VIEW_MS,
        },
        on_press_change=hear,
        on_undo_change=on_undo,
    )
    return _answer(heard.press)


def _answer(press: dict[str, Any] | None) -> Answer | None:
    """What the browser sent, as an answer without its rationale; None when it makes no sense."""
    match press:
        case {
            "assignment_id": int(assignment_id),
            "replaces": int() | None as replaces,
            "choice": str(choice),
            "response_ms": int(response_ms),
        } if choice in OF_CHOICE and response_ms >= 0:
            known: Choice = next(name for name in OF_CHOICE if name == choice)
            return Answer(Question(assignment_id, replaces), known, response_ms=response_ms)
    return None
