"""The label page: sit down with a goal, answer one question after another, see how it went."""

import streamlit as st

from labeling_ui import identity, sheet, store
from labeling_ui.identity import Person
from labeling_ui.visit import Visit


@st.fragment
def label_page() -> None:
    """The page; a fragment, for what is around it need not be drawn again with every answer."""
    person = identity.who()
    if person is None:
        st.rerun()  # who is not logged in any more is told so by the frame
    visit = visit_of(person)
    if message := sheet.listen():
        visit.hear(message)
    sheet.tell(visit.screen())


def visit_of(person: Person) -> Visit:
    """What this browser session remembers of the person's visit."""
    visit: Visit | None = st.session_state.get("visit")
    if visit is None or visit.annotator_id != person.annotator_id:
        visit = st.session_state["visit"] = Visit(store.engine(), person.annotator_id)
    return visit


label_page()
