"""The frame around every page: who is here, which pages are theirs, and the way out."""

from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from db.errors import StoreError
from labeling_ui import identity, launch
from labeling_ui.identity import Person

HERE = Path(__file__).parent
# Pages of managers and admins.
MANAGED = (
    "queues", "progress", "quality", "prompts", "data", "versions", "promotions", "runs", "schedules", "read",
    "playground", "people",
)  # fmt: skip


def main() -> None:
    problem, person = "", None
    try:
        person = identity.who()
    except StoreError as refusal:
        problem = f"{refusal}."
    page = st.navigation(pages(person) if person else [st.Page(lambda: nobody(problem), title="nobody")], expanded=True)
    labeling = page.title == "label"
    st.set_page_config(
        page_title=f"prefloop · {page.title}",
        layout="wide",
        initial_sidebar_state="collapsed" if labeling else "auto",
    )
    if labeling:
        st.html(HERE / "look.css")
    st.html(HERE / "frame.css")
    with st.sidebar:
        account(person)
    try:
        page.run()
    except StoreError as refusal:
        st.text(f"{refusal}.")


def pages(person: Person) -> list[StreamlitPage]:
    """What the person may open. A page asks the store again: a menu keeps nobody out."""
    # No icons: one of them would become the tab's, and that is fetched from another host. No sections: Streamlit's
    # markup of them is no list to a screen reader.
    mine = [st.Page(HERE / "label.py", title="label", default=True)]
    if launch.auth() == "password":
        mine.append(st.Page(HERE / "account.py", title="account"))
    if person.role == "annotator":
        return mine
    return mine + [st.Page(HERE / f"manage_{name}.py", title=name, url_path=name) for name in MANAGED]


def account(person: Person | None) -> None:
    """Who is here, and how to leave."""
    if launch.auth() == "none":
        name_field()
        return
    if person is None:
        return
    st.text(person.name)
    st.caption(person.role)
    if launch.auth() == "password":
        st.html('<a href="/logout">log out</a>')
    else:
        st.button("log out", on_click=st.logout)


def name_field() -> None:
    """Who is labeling, where nobody has to log in."""

    st.session_state["said-name"] = name = identity.said_name()
    st.text_input(
        "who is labeling",
        key="said-name",
        max_chars=60,
        on_change=lambda: identity.say_name(st.session_state["said-name"]),
    )
    identity.say_name(name)  # a link to another page has dropped it from the URL


def nobody(problem: str) -> None:
    """What is shown where nobody is known: why, and the way in. Nothing of the store."""
    st.title("prefloop", anchor=False)
    if problem:
        st.text(problem)
        return
    match launch.auth():
        case "password":
            st.markdown("You are logged out. What you said is saved; what you pressed since is not.")
            st.html('<a href="/login">Log in</a>')
        case "oidc" if st.user.is_logged_in:
            st.markdown("You may not label here any more. Ask a manager.")
            st.button("Log out", on_click=st.logout)
        case "oidc":
            st.button("Log in", type="primary", on_click=st.login)


main()
