"""The page about one's own login: another password, and logging out everywhere."""

import streamlit as st

from db import logins
from db.engine import writing
from db.errors import StoreError
from labeling_ui import identity, store
from labeling_ui.identity import Person


def account_page() -> None:
    try:
        person = identity.who()
    except StoreError as refusal:
        st.text(f"{refusal}.")
        return
    if person is None:
        return
    st.title("Account", anchor=False)
    change_password(person)
    st.subheader("Log out everywhere", anchor=False)
    st.markdown("Ends your login in every browser, this one too.")
    if st.button("log out everywhere"):
        with writing(store.engine()) as session:
            logins.revoke_all(session, person.annotator_id, person.name)
        st.rerun()


def change_password(person: Person) -> None:
    st.subheader("Change password", anchor=False)
    with st.form("password", width=420):
        old = st.text_input("password now", type="password", autocomplete="current-password")
        new = st.text_input(
            "new password", type="password", autocomplete="new-password", help=f"at least {logins.SHORTEST} characters"
        )
        again = st.text_input("new password again", type="password", autocomplete="new-password")
        if not st.form_submit_button("change password"):
            return
    if new != again:
        st.error("The new password was typed in two different ways. Nothing was changed.")
        return
    try:
        logins.change_password(store.engine(), person.annotator_id, old, new, st.context.ip_address or "")
    except StoreError as refusal:
        st.error(f"Not changed: {refusal}.")
        return
    st.rerun()  # logged out, here too


account_page()
