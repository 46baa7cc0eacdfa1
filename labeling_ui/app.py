"""The web application: `streamlit run` finds `app` here, serves the label page and adds the security headers."""

import streamlit as st
from starlette.middleware import Middleware

from labeling_ui.security import SecurityHeaders

app = st.App("label.py", middleware=[Middleware(SecurityHeaders)])
