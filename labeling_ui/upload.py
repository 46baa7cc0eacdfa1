"""A file from the computer of whoever looks."""

from collections.abc import Sequence
from typing import Protocol

import streamlit as st

# Streamlit's uploader calls a labeled, focusable part of itself mere presentation, which confuses screen readers. It
# may be drawn after this component, and anew whenever it likes: hence the observer.
_mended = st.components.v2.component(
    "prefloop_mended_uploader",
    js="""const mend = () => document.querySelectorAll('[data-testid="stFileUploaderDropzone"][role]')
    .forEach((part) => part.removeAttribute("role"))
export default () => {
    mend()
    const observer = new MutationObserver(mend)
    observer.observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ["role"] })
    return () => observer.disconnect()
}""",
)


class Uploaded(Protocol):
    name: str

    def getvalue(self) -> bytes: ...


def file(label: str, types: Sequence[str], key: str, megabytes: int) -> Uploaded | None:
    """The file that was chosen; None before that."""
    chosen: Uploaded | None = st.file_uploader(label, type=list(types), key=key, max_upload_size=megabytes)
    _mended(key=f"mended-{key}")
    return chosen
