"""Prompts from files: txt (one a line), csv (a column `prompt`), jsonl (`prompt`, or chat `messages`)."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from db.prompts import PromptItem

from .errors import PrefloopError

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class BadLine:
    number: int  # in the file, from 1
    reason: str

    def __str__(self) -> str:
        return f"line {self.number}: {self.reason}"


@dataclass(frozen=True)
class ReadPrompts:
    items: list[PromptItem]
    bad: list[BadLine]


def builtin() -> ReadPrompts:
    """The prompts that ship with prefloop: ten kinds of everyday task, written for it."""
    text = files("pipeline").joinpath("data/prompts.jsonl").read_text(encoding="utf-8")
    return _collect(_jsonl(text), source="prefloop")


def read(path: Path, category: str = "") -> ReadPrompts:
    """Prompts of a file by its suffix. A bad line is reported with its number and the rest is read.

    Raises PrefloopError when the file as a whole cannot be read.
    """
    parsers = {".txt": _txt, ".csv": _csv, ".jsonl": _jsonl}
    parse = parsers.get(path.suffix.lower())
    if parse is None:
        raise PrefloopError(f"cannot import {path.name}: its suffix is not one of {', '.join(parsers)}")
    try:
        text = path.read_text(encoding="utf-8-sig")  # with or without the mark that spreadsheets put first
    except FileNotFoundError:
        raise PrefloopError(f"there is no file {path}") from None
    except UnicodeDecodeError as error:
        raise PrefloopError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    return _collect(parse(text), source=path.name, category=category)


Row = tuple[int, Any]  # line number; a prompt, {"prompt" or "messages", "category"}, or a ValueError


def _txt(text: str) -> Iterator[Row]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, {"prompt": line}


def _csv(text: str) -> Iterator[Row]:
    reader = csv.DictReader(text.splitlines(keepends=True), strict=True)
    if "prompt" not in (reader.fieldnames or []):
        raise PrefloopError(f"the csv has no column named prompt; its columns are {reader.fieldnames or 'none'}")
    while True:
        start = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield start, ValueError(str(error))
            continue
        yield start, row


def _jsonl(text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                yield number, ValueError(f"not JSON ({error.msg} at column {error.colno})")


def _collect(rows: Iterator[Row], source: str, category: str = "") -> ReadPrompts:
    items: list[PromptItem] = []
    bad: list[BadLine] = []
    for number, row in rows:
        try:
            if isinstance(row, ValueError):
                raise row
            kind = row.get("category") if isinstance(row, dict) else None
            items.append(PromptItem(messages=_messages(row), category=category or str(kind or ""), source=source))
        except ValueError as error:
            bad.append(BadLine(number, str(error)))
    return ReadPrompts(items, bad)


def _messages(row: Any) -> list[dict[str, str]]:
    """The conversation of one row. Raises ValueError that says what is wrong with it."""
    if isinstance(row, str):
        row = {"prompt": row}
    if not isinstance(row, dict):
        raise ValueError(f"expected an object, found {type(row).__name__}")
    messages = row.get("messages")
    if messages is None:
        messages = row.get("prompt")
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    if not isinstance(messages, list) or not messages:
        raise ValueError("has neither a prompt text nor a list of messages")
    cleaned = []
    for turn, message in enumerate(messages, 1):
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise ValueError(f"message {turn} is not an object with a role and a text content")
        if message.get("role") not in ROLES:
            raise ValueError(f"message {turn} has role {message.get('role')!r}; use {', '.join(ROLES)}")
        if not message["content"].strip():
            raise ValueError(f"message {turn} is empty")
        cleaned.append({"role": message["role"], "content": message["content"].strip()})
    if cleaned[-1]["role"] != "user":
        raise ValueError(f"ends in a turn of the {cleaned[-1]['role']}; a prompt ends in a user turn")
    return cleaned
