"""Plain text for continued pre-training: one file, one document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import PrefloopError


@dataclass(frozen=True)
class TextRow:
    """A document. The model learns to continue it from any place."""

    name: str
    text: str


def read_texts(paths: Sequence[Path]) -> list[TextRow]:
    """The files as documents, in the order given. Raises PrefloopError for one that is missing, empty or not UTF-8."""
    rows = []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise PrefloopError(f"{path} cannot be read ({error.strerror}); give a file of plain text") from None
        except UnicodeDecodeError as error:
            raise PrefloopError(f"{path} is not UTF-8 at byte {error.start}; convert it to plain text first") from None
        if not text.strip():
            raise PrefloopError(f"{path} is empty; leave it out")
        rows.append(TextRow(path.name, text))
    return rows
