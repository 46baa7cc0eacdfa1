"""Text that somebody else wrote, shown as plain text: nothing in it is rendered, fetched or run.

Every text of a prompt, a model or an error message goes through here; Markdown is for our own literals only.
"""

import streamlit as st

LONG = 1700  # characters; two such texts side by side still fit a laptop screen


def show(text: str, key: str) -> None:
    """The text; a long one in part, with a switch to show all of it."""
    if not text.strip():
        st.caption("(empty)")
        return
    whole_key = f"whole-{key}"
    whole = len(text) <= LONG or st.session_state.get(whole_key, False)
    st.text(text if whole else opening(text), width="stretch")
    if len(text) > LONG:
        st.toggle(f"show all {len(text):,} characters", key=whole_key)


def opening(text: str, length: int = LONG) -> str:
    """The beginning of the text, cut between words where it can be, with an ellipsis."""
    cut = text[:length]
    between = max(cut.rfind(" "), cut.rfind("\n"))
    return cut[: between if between > length // 2 else length].rstrip() + " …"
