"""People: who may do what, and what they did. Managers look, admins change."""

import streamlit as st
from sqlalchemy import Engine

from db.words import AnnotatorRole
from labeling_ui import launch, manage, office_people, tables
from labeling_ui.identity import Person
from labeling_ui.office_people import NewPassword, PersonLine
from labeling_ui.tables import Cell, Mark

ROLES: dict[AnnotatorRole, str] = {
    "annotator": "annotator: labels",
    "manager": "manager: and queues, prompts, data",
    "admin": "admin: and people",
}
_PASSWORD = "new-password"


def body(engine: Engine, person: Person) -> None:
    lines = office_people.lines(engine, person.annotator_id)
    if _PASSWORD in st.session_state:
        password(st.session_state[_PASSWORD])
    overview(lines)
    if person.role != "admin":
        manage.remark("Only an admin changes people.")
        return
    if launch.auth() == "oidc":
        manage.remark("People are here from their first login on; their passwords are their provider's matter.")
    else:
        with st.expander("add somebody"):
            add()
    one_person(engine, person, [line for line in lines if line.did.kind == "human"])


def overview(lines: list[PersonLine]) -> None:
    tables.table(
        "People, then simulated annotators",
        ["name", "role", "state", "judged", "last labeled", "last logged in"],
        [
            [
                line.did.name,
                line.did.role if line.did.kind == "human" else Mark("simulated", "quiet"),
                state(line),
                f"{line.did.judgments:,}",
                manage.when(line.did.last_seen),
                manage.when(line.logged_in_at),
            ]
            for line in lines
        ],
        ["judged"],
    )


def state(line: PersonLine) -> Cell:
    if line.did.withdrawn_at:
        return Mark("withdrawn", "bad")
    return Mark("disabled", "warn") if line.did.disabled_at else Mark("active", "good")


def password(made: NewPassword) -> None:
    """A password that was just made. It is shown until it is noted, and never again."""
    with st.container(border=True, key="new-password-card"):
        manage.remark("A new password. Pass it on now: it cannot be shown again.")
        st.text(f"for {made.name}")
        st.code(made.password, language=None)
        st.button("I have noted it", on_click=lambda: st.session_state.pop(_PASSWORD, None))


def add() -> None:
    with st.form("add", border=False, clear_on_submit=True):
        name = st.text_input("name", max_chars=60)
        role = st.selectbox("role", list(ROLES), format_func=lambda role: ROLES[role])
        if st.form_submit_button("add", type="primary"):
            manage.submit(lambda engine, who: keep(office_people.add(engine, who, name, role), "is added"))


def one_person(engine: Engine, person: Person, lines: list[PersonLine]) -> None:
    manage.section("one person")
    by_id = {line.did.annotator_id: line for line in lines}
    id_ = st.selectbox("person", list(by_id), format_func=lambda id_: by_id[id_].did.name, key="person", width=320)
    did = by_id[id_].did
    if did.withdrawn_at:
        manage.remark(f"Withdrew on {manage.when(did.withdrawn_at)}. That is for good: they would need a new account.")
        return
    if id_ == person.annotator_id and sum(line.is_active_admin for line in lines) == 1:
        manage.remark(
            "This is you, the last active admin: you can be neither disabled nor withdrawn, and keep the role, until "
            "you have given it to somebody else."
        )
    elif id_ == person.annotator_id:
        manage.remark("This is you. Another admin can change your role, disable or withdraw you.")
    else:
        role(id_, did.role)
    with st.container(horizontal=True):
        if id_ != person.annotator_id:
            if did.disabled_at:
                manage.button("enable", lambda engine, who: office_people.enable(engine, who, id_), key=f"enable-{id_}")
            else:
                manage.button(
                    "disable", lambda engine, who: office_people.disable(engine, who, id_), key=f"disable-{id_}"
                )
        manage.button(
            "log out everywhere", lambda engine, who: office_people.log_out(engine, who, id_), key=f"out-{id_}"
        )
        if launch.auth() != "oidc":
            manage.button(
                "set a new password",
                lambda engine, who: keep(office_people.new_password(engine, who, id_), "has a new password"),
                key=f"password-{id_}",
            )
    if id_ != person.annotator_id:
        withdraw(engine, person, id_)


def role(annotator_id: int, now: AnnotatorRole) -> None:
    with st.form(f"role-{annotator_id}", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.selectbox(
            "role", list(ROLES), list(ROLES).index(now), format_func=lambda role: ROLES[role], width=320
        )
        if st.form_submit_button("change the role"):
            manage.submit(lambda engine, who: office_people.set_role(engine, who, annotator_id, wanted))


def withdraw(engine: Engine, person: Person, annotator_id: int) -> None:
    with st.expander("withdraw all that they said"):
        stands = office_people.dependents(engine, person.annotator_id, annotator_id)
        manage.remark("When somebody takes back what they said. It cannot be undone.")
        tables.table(
            "What it does",
            ["what", "how many", "which"],
            [
                ["judgments that count no more", f"{stands.judgments:,}", "their places are owed again"],
                [
                    "snapshots that become stale",
                    f"{len(stands.snapshots):,}",
                    ", ".join(f"{each.id} ({each.sha256[:8]})" for each in stands.snapshots),
                ],
                [
                    "versions that become stale",
                    f"{len(stands.versions):,}",
                    ", ".join(each.name + (" (current)" if each.is_current else "") for each in stands.versions),
                ],
            ],
            ["how many"],
        )
        sure = st.checkbox("yes, withdraw this person for good", key=f"sure-{annotator_id}")
        manage.button(
            "withdraw",
            lambda engine, who: office_people.withdraw(engine, who, annotator_id),
            disabled=not sure,
            key=f"withdraw-{annotator_id}",
        )


def keep(made: NewPassword, what: str) -> str:
    st.session_state[_PASSWORD] = made
    return f"{made.name} {what}."


manage.page("People", body)
