"""The sheet: what the label page looks like in the browser, and what it says back.

It is one component, made of the scripts below, whose part of a page never changes, so that its code is sent once. What
changes travels alone: `tell` hands it to the sheet by a second component (news.js).
"""

import gc
from pathlib import Path

import streamlit as st

from db.columns import JsonObject
from labeling_ui import messages
from labeling_ui.messages import Message

MINIMUM_VIEW_MS = 600  # nobody reads two texts faster: a press so early was meant for the question before

_HERE = Path(__file__).parent
_SCRIPTS = (
    "dom.js", "outbox.js", "passage.js", "keys.js", "answer.js", "question.js", "kinds.js", "ranking.js", "rating.js",
    "sitting.js", "sheet.js",
)  # fmt: skip
_sheet = st.components.v2.component(
    "prefloop_sheet",
    css=(_HERE / "sheet.css").read_text(encoding="utf-8"),
    js="\n".join((_HERE / script).read_text(encoding="utf-8") for script in _SCRIPTS),
)
_news = st.components.v2.component("prefloop_news", js=(_HERE / "news.js").read_text(encoding="utf-8"))


def listen() -> Message | None:
    """Put the sheet on the page. Returns the message that this run was started by, if it was."""
    said = _sheet(
        key="sheet",
        data=[{"minimumMs": MINIMUM_VIEW_MS, "katex": _katex()}],
        on_message_change=lambda: None,  # names the event; the message is read here, when it is known who is there
    )
    return messages.read(said.message) if said.message else None


def tell(news: JsonObject) -> None:
    """Let the sheet show this."""
    _news(key="news", data=[news])  # each value of a mapping would be tried as a table first, by importing pandas


def _katex() -> str | None:
    """The file name of the LaTeX renderer that Streamlit brings; without it formulas are shown as their source."""
    scripts = Path(st.__file__).parent / "static" / "static" / "js"
    return next((script.name for script in scripts.glob("katex.*.js")), None)


# After each run Streamlit collects garbage, and what the run has just sent may wait for it: 150 ms over all that is
# loaded. What is there by now stays for good, so it need not be looked at.
gc.collect()
gc.freeze()
