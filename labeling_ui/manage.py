"""What the manager pages share: the person before them, refusals in words, and what came of the last press."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st
from sqlalchemy import Engine

from db.columns import Message
from db.errors import StoreError
from labeling_ui import identity, passage, store, tables
from labeling_ui.identity import Person
from labeling_ui.office import PAGE


class Lot(Protocol):
    """One page of `total` rows."""

    @property
    def total(self) -> int: ...


Paged = TypeVar("Paged", bound=Lot)
Act = Callable[[Engine, int], str]  # by the person of that id; what came of it, in words

STYLE = Path(__file__).parent / "office.css"
_NOTE = "office-note"
_SHOWN = 20_000  # characters of a text that are shown on request: a browser chokes on megabytes


def page(title: str, body: Callable[[Engine, Person], None]) -> None:
    """A manager page: title, what came of the last press, then its body. What the store refuses is said in words."""
    st.html(STYLE)
    st.title(title, anchor=False)
    try:
        person = identity.who()
        if person is None:
            _say("Nobody is logged in any more. Log in, and come back.", "refused")
            return
        if note := st.session_state.pop(_NOTE, None):
            _say(*note)
        body(store.engine(), person)
    except StoreError as refusal:
        _say(f"{refusal}.", "refused")


def press(act: Act) -> None:
    """Do what a button asks, by whoever is here *now*; the page then says what came of it."""
    try:
        person = identity.who()
        if person is None:
            raise StoreError("nobody is logged in any more; log in, and press again")
        st.session_state[_NOTE] = act(store.engine(), person.annotator_id), "done"
    except StoreError as refusal:
        st.session_state[_NOTE] = f"{refusal}.", "refused"


def button(label: str, act: Act, **options: Any) -> None:
    """A button, with a label of our own, that does this."""
    st.button(label, on_click=press, args=(act,), **options)


def submit(act: Act) -> None:
    """Do what a submitted form asks, and show the page anew."""
    press(act)
    st.rerun()


def live(draw: Callable[[], None], person: Person, every: float | None) -> None:
    """A part of the page that is drawn anew every so many seconds by itself; never where that is None.

    Who looks is asked each time, as for a whole page: the page is drawn anew, and says so, once they may not.
    """
    drawn: list[bool] = []

    def part() -> None:
        if not drawn:
            drawn.append(True)
            draw()
            return
        try:
            if identity.who() == person:
                draw()
                return
        except StoreError:
            pass
        st.rerun()

    st.fragment(part, run_every=every)()


def empty(title: str, *steps: str) -> None:
    """What a page says while it has nothing to show: why, and what to do first."""
    items = "".join(f"<li>{tables.text(step)}</li>" for step in steps)
    st.html(f'<div class="office-empty"><strong>{tables.text(title)}</strong><ol>{items}</ol></div>')


def section(title: str) -> None:
    st.header(title, anchor=False)


def remark(said: str) -> None:
    """A line of explanation."""
    st.html(f'<p class="office-remark">{tables.text(said)}</p>')


def plain(said: str, key: str) -> None:
    """Text of somebody else, as it is; a long one in part, with a switch to show more of it."""
    if not said.strip():
        remark("(empty)")
        return
    shown_key = f"more-{key}"
    more = st.session_state.get(shown_key, False)
    st.text(passage.readable(passage.opening(said, _SHOWN if more else passage.LONG)), width="stretch")
    if len(said) > passage.LONG:
        most = f"the first {_SHOWN:,} of {len(said):,}" if len(said) > _SHOWN else f"all {len(said):,}"
        st.toggle(f"show {most} characters", key=shown_key)


def paged(fetch: Callable[[int], Paged], key: str, size: int = PAGE) -> Paged:
    """The page of `size` rows whose number was chosen, counted from 1; the last one where there are fewer by now."""
    number = st.session_state.get(key, 1)
    found = fetch(number)
    if number > (last := pages(found.total, size)):
        st.session_state[key] = last
        found = fetch(last)
    return found


def page_chooser(total: int, key: str, size: int = PAGE) -> None:
    if pages(total, size) > 1:
        st.pagination(pages(total, size), key=key)


def pages(total: int, size: int = PAGE) -> int:
    return max(1, -(-total // size))


def turn(message: Message, key: str) -> None:
    """One message of a conversation, under its role."""
    tables.label(message["role"])
    plain(message["content"], key)


def one_line(said: str, length: int = 200) -> str:
    """Text of somebody else for the cell of a grid: its beginning, on one line."""
    return passage.readable(" ".join(passage.opening(said, length).split()))


def when(moment: datetime | None) -> str:
    """The moment on the clock of whoever looks."""
    if moment is None:
        return "never"
    return f"{moment.astimezone(timezone()):%d %b %Y %H:%M}"


def duration(seconds: float | None) -> str:
    """A span of time, as precisely as it matters."""
    if seconds is None:
        return "unknown"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}\u00a0s"
    if whole < 3600:
        return f"{whole // 60}\u00a0min {whole % 60:02}\u00a0s"
    return f"{whole // 3600}\u00a0h {whole % 3600 // 60:02}\u00a0min"


def timezone() -> ZoneInfo:
    """The time zone of whoever looks; UTC where the browser does not say."""
    try:
        return ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def _say(said: str, tone: Literal["done", "refused"]) -> None:
    role = "alert" if tone == "refused" else "status"
    st.html(f'<p class="office-note office-{tone}" role="{role}">{tables.text(said)}</p>')
