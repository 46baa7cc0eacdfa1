"""The end of a stage's log as it may be kept in the store and shown: without control sequences and without secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import make_url

SIZE = 4096  # bytes, before it is cleaned
HIDDEN = "[hidden]"

# What a terminal acts on: CSI and OSC sequences (ECMA-48), other escapes, and control characters but line feed and tab.
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
_OVERWRITTEN = re.compile(r"[^\n]*\r(?!\n)")  # a line that a progress bar wrote again
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 6  # characters: what is shorter stands in words that are none
_WRITTEN = re.compile(r"(?<=://)[^\s/@]+:[^\s/@]+(?=@)|(?<=Bearer )\S+", re.IGNORECASE)  # user:password@host, a header


def secrets(store_url: str, *names: str) -> tuple[str, ...]:
    """Values that no log may show, longest first: the store's password, and those of environment variables that have
    one of these names, or a name that speaks of a key, a token or a password.
    """
    found = {value for name, value in os.environ.items() if name in names or _SECRET_NAME.search(name)}
    found.add(make_url(store_url).password or "")
    return tuple(sorted((value for value in found if len(value) >= _SHORTEST), key=len, reverse=True))


def clean(text: str, hidden: Iterable[str] = ()) -> str:
    """The text as a terminal would leave it, with secrets replaced."""
    shown = _CONTROL.sub("", _OVERWRITTEN.sub("", text.replace("\r\n", "\n")))
    for secret in hidden:
        shown = shown.replace(secret, HIDDEN)
    return _WRITTEN.sub(HIDDEN, shown)


def tail(log: Path, hidden: Iterable[str] = (), size: int = SIZE) -> str:
    """The last `size` bytes of the log from a line's beginning on, cleaned. Empty where there is no log yet."""
    hidden = tuple(hidden)
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            start = max(0, end - size)
            file.seek(start)
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    if start:  # a line without its beginning may hold half a secret
        text = text.partition("\n")[2]
    return clean(text, hidden)
