"""The store that the screens stand on: one engine for the whole server."""

import os

import streamlit as st
from sqlalchemy import Engine

from db.engine import open_store
from db.errors import StoreError
from labeling_ui import launch


def engine() -> Engine:
    """The engine of the store that the server was started for; StoreError when there is none or it does not open."""
    url = os.environ.get(launch.STORE_URL)
    if url is None:
        raise StoreError("no store is given; start with `python -m labeling_ui --store-url sqlite:///prefloop.db`")
    return _open(url)


@st.cache_resource(show_spinner=False)
def _open(url: str) -> Engine:
    return open_store(url)
