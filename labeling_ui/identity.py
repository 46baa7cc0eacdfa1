"""Who sits before the browser: asked of the store at every run of a page, so what has ended there has ended here.

Without a login it is whoever they say they are: that is for one person, on their own machine.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st
from sqlalchemy import Engine

from db import annotators, logins
from db.engine import reading, writing
from db.tables import Annotator
from db.words import AnnotatorRole
from labeling_ui import launch, store

COOKIE = "prefloop_login"  # holds the token of a login; scripts of the page cannot read it
NAME = "annotator"  # the query parameter that says who is labeling, where there is no login


@dataclass(frozen=True, slots=True)
class Person:
    """Who acts on a page."""

    annotator_id: int
    name: str
    role: AnnotatorRole


def who() -> Person | None:
    """The person of this browser session; None when nobody is logged in, or not any more.

    StoreError when the store does not open; without a login also when the name belongs to a simulated annotator.
    """
    match launch.auth():
        case "password":
            return of_token(st.context.cookies.get(COOKIE, ""))
        case "oidc":
            return of_claims(store.engine(), st.user.to_dict())
        case "none":
            return _of_name(store.engine(), said_name())


def of_token(token: str) -> Person | None:
    """The person who is logged in with this token, if anybody is."""
    annotator = logins.person_of(store.engine(), token) if token else None
    return _person(annotator) if annotator else None


def of_claims(engine: Engine, claims: Mapping[str, object]) -> Person | None:
    """The person whom the provider's `iss` and `sub` name, made when they are new; None when they may not act."""
    issuer, subject = claims.get("iss"), claims.get("sub")
    if claims.get("is_logged_in") is not True or not isinstance(issuer, str) or not isinstance(subject, str):
        return None
    with reading(engine) as session:
        annotator = logins.of_oidc(session, issuer, subject)
    if annotator is None:
        name = next((str(claims[key]) for key in ("name", "preferred_username", "email") if claims.get(key)), "")
        with writing(engine) as session:
            annotator = logins.ensure_oidc(session, issuer, subject, name)
    return None if annotator.disabled_at or annotator.withdrawn_at else _person(annotator)


def said_name() -> str:
    """Who is labeling where there is no login: as the URL says, else as was said before, else as the server does."""
    return annotators.clean_name(st.query_params.get(NAME, "")) or str(st.session_state.get(_SAID, _default_name()))


def say_name(name: str) -> None:
    """From now on this name is labeling in this browser session. The URL keeps it, so a reload does too."""
    name = annotators.clean_name(name) or _default_name()
    st.session_state[_SAID] = name
    if st.query_params.get(NAME, _default_name()) != name:
        st.query_params[NAME] = name


def _default_name() -> str:
    return os.environ.get(launch.ANNOTATOR) or "me"


_SAID = "who-is-labeling"


def _of_name(engine: Engine, name: str) -> Person:
    """The person of that name, made an admin when they are new: the machine is theirs."""
    with reading(engine) as session:
        annotator = annotators.find(session, name)
    if annotator is None or annotator.kind != "human":
        with writing(engine) as session:
            annotator = annotators.ensure(session, name, "human", role="admin")
    return _person(annotator)


def _person(annotator: Annotator) -> Person:
    return Person(annotator.id, annotator.name, annotator.role)
