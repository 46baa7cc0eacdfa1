"""Two answers with their differences marked, word by word: plain text in marks of ours, and nothing in it is markup."""

import streamlit as st

from labeling_ui import difference, passage, tables
from labeling_ui.difference import Runs


def runs(a: str, b: str) -> tuple[Runs, Runs] | None:
    """Each text in runs that the other has as well or has not; None where they are too long, to be shown plain."""
    if max(len(a), len(b)) > passage.LONG:
        return None
    return difference.between(passage.readable(a), passage.readable(b))


def marked(parts: Runs) -> None:
    """A text whose own words are underlined on a tint, so that neither needs the other to be seen."""
    words = "".join(f"<mark>{tables.text(part)}</mark>" if own else tables.text(part) for own, part in parts)
    st.html(f'<div class="office-answer">{words or tables.text("(empty)")}</div>')
