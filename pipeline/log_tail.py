"""The end of a stage's log as it may be kept in the store and shown: without what a terminal acts on.

Secrets are hidden by whoever writes it down (redact.py); no line is cut in two, so that none is left by half.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

SIZE = 4096  # bytes, before it is cleaned

# What a terminal acts on: CSI and OSC sequences (ECMA-48), other escapes, and control characters but line feed and tab.
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
_OVERWRITTEN = re.compile(r"[^\n]*\r(?!\n)")  # a line that a progress bar wrote again


def clean(text: str) -> str:
    """The text as a terminal would leave it."""
    return _CONTROL.sub("", _OVERWRITTEN.sub("", text.replace("\r\n", "\n")))


def tail(log: Path, size: int = SIZE) -> str:
    """The last `size` bytes of the log from a line's beginning on, cleaned. Empty where there is no log yet."""
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
    return clean(text)
