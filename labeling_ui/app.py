"""The web application: `streamlit run` finds `app` here. It serves the pages, and the login where there is one."""

import streamlit as st
from starlette.middleware import Middleware

from labeling_ui import launch, login, security
from labeling_ui.gate import Gate

_password = launch.auth() == "password"

app = st.App(
    "main.py",
    routes=login.ROUTES if _password else [],
    middleware=[Middleware(security.SecurityHeaders), *([Middleware(Gate)] if _password else [])],
    exception_handlers={Exception: security.broken},
)
