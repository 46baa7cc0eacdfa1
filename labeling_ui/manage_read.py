"""Read: the answers of two versions to the same prompts, side by side, a few at a time."""

from collections.abc import Sequence

import streamlit as st
from sqlalchemy import Engine

from db.answers import Answer, Order, Pair, Wanted
from labeling_ui import answers_view, manage, office_read, tables
from labeling_ui.identity import Person

PAGE_KEY = "read-page"
ORDERS: dict[str, Order] = {
    "as the prompts are": "prompt",
    "B longest first": "longest",
    "B lost most first": "lost most",
}


def body(engine: Engine, person: Person) -> None:
    written = office_read.written(engine, person.annotator_id)
    names = written.names
    if len(names) < 2:
        manage.empty(
            "There are not two versions with answers yet",
            "Train a version, and compare it: prefloop compare v1 v0 has both answer the held-out prompts.",
            "What they answered is here then, prompt by prompt.",
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        a = pick("A", names, default=names.index(written.current) if written.current in names[:-1] else 0)
        b = pick("B", names, default=len(names) - 1)
    if a == b:
        manage.remark("Both are the same version. Choose another.")
        return
    wanted = filters(engine, person, a, b)
    found = manage.paged(
        lambda number: office_read.page(engine, person.annotator_id, a, b, wanted, number), PAGE_KEY, office_read.PAIRS
    )
    if not found.total:
        nothing(wanted, a, b)
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        manage.remark(f"{found.total:,} pairs of answers, drawn with the same settings and seed.")
        differences = st.toggle("mark what differs", value=True, key="differences", bind="query-params")
    for pair in found.rows:
        show(pair, a, b, differences)
    manage.page_chooser(found.total, PAGE_KEY, office_read.PAIRS)


def filters(engine: Engine, person: Person, a: str, b: str) -> Wanted:
    choices = office_read.choices(engine, person.annotator_id, a, b)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        category = pick("category", ["any", *choices.categories])
        judge = pick("judge", ["nobody", *choices.judges])
        order = pick("order", list(ORDERS) if judge != "nobody" else list(ORDERS)[:2], width=215)
        judged = judge != "nobody"
        lost = st.toggle(
            "where B lost", key="lost", bind="query-params", disabled=not judged, on_change=back_to_the_start
        )
        flagged = st.toggle("flagged", key="flagged", bind="query-params", on_change=back_to_the_start)
    return Wanted(
        judge=judge if judged else None,
        category=None if category == "any" else category,
        only_flagged=flagged,
        only_lost=lost and judged,
        order=ORDERS[order],
    )


def pick(name: str, options: Sequence[str], default: int = 0, width: int = 150) -> str:
    """A choice that the URL keeps."""
    return st.selectbox(
        name, options, default, key=name.lower(), bind="query-params", width=width, on_change=back_to_the_start
    )


def back_to_the_start() -> None:
    st.session_state.pop(PAGE_KEY, None)


def nothing(wanted: Wanted, a: str, b: str) -> None:
    if wanted == Wanted():
        manage.empty(
            f"{a} and {b} never answered the same prompt with the same settings and seed",
            f"Compare them: prefloop compare {a} {b} has both answer the held-out prompts.",
        )
    else:
        manage.remark("No pair of answers fits.")


def show(pair: Pair, a: str, b: str, differences: bool) -> None:
    key = f"{pair.a.candidate_id}-{pair.b.candidate_id}"
    with st.container(border=True, key=f"pair-{key}", gap="xxsmall"):
        flagged = " · flagged" if pair.flagged else ""
        tables.label(f"prompt {pair.prompt_id} · {pair.category or 'no category'}{flagged}")
        for number, message in enumerate(pair.messages):
            manage.turn(message, f"turn-{key}-{number}")
        runs = answers_view.runs(pair.a.text, pair.b.text) if differences else None
        for side, (column, name, answer) in enumerate(zip(st.columns(2), (a, b), (pair.a, pair.b), strict=True)):
            with column.container(gap="xxsmall"):
                tables.label(heading(name, answer, pair))
                if runs is None:
                    manage.plain(answer.text, f"answer-{key}-{side}")
                else:
                    answers_view.marked(runs[side])


def heading(name: str, answer: Answer, pair: Pair) -> str:
    said = f"{name} · {answer.token_count:,} tokens" + (", cut off" if answer.finish_reason == "length" else "")
    if answer.score is None:
        return said
    best = max(score for score in (pair.a.score, pair.b.score) if score is not None)
    return f"{said} · score {answer.score:.2f}".replace("-", "−") + (" ▲" if answer.score == best else "")


manage.page("Read", body)
