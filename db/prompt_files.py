"""Prompts from files: txt (one a line), csv (a column `prompt`), jsonl (`prompt`, or chat `messages`)."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from .errors import StoreError
from .prompts import PromptItem

ROLES = ("system", "user", "assistant")

Row = tuple[int, Any]  # line number; a prompt, {"prompt" or "messages", "category"}, or a ValueError


@dataclass(frozen=True, slots=True)
class BadLine:
    number: int  # in the file, from 1
    reason: str

    def __str__(self) -> str:
        return f"line {self.number}: {self.reason}"


@dataclass(frozen=True, slots=True)
class ReadPrompts:
    items: list[PromptItem]
    bad: list[BadLine]


def parse(name: str, content: bytes, category: str = "", source: str | None = None) -> ReadPrompts:
    """Prompts of a file, by the suffix of its name; the name is also their source, unless another is given.

    A bad line is reported with its number and the rest is read. StoreError when the file as a whole cannot be read.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix not in PARSERS:
        raise StoreError(f"cannot import {name}: its suffix is not one of {', '.join(PARSERS)}")
    try:
        text = content.decode("utf-8-sig")  # with or without the mark that spreadsheets put first
    except UnicodeDecodeError as error:
        raise StoreError(f"{name} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    items: list[PromptItem] = []
    bad: list[BadLine] = []
    for number, row in PARSERS[suffix](text):
        try:
            if isinstance(row, ValueError):
                raise row
            kind = row.get("category") if isinstance(row, dict) else None
            items.append(
                PromptItem(messages=_messages(row), category=category or str(kind or ""), source=source or name)
            )
        except ValueError as error:
            bad.append(BadLine(number, str(error)))
    return ReadPrompts(items, bad)


def _txt(text: str) -> Iterator[Row]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, {"prompt": line}


def _csv(text: str) -> Iterator[Row]:
    reader = csv.DictReader(text.splitlines(keepends=True), strict=True)
    try:
        columns = list(reader.fieldnames or [])
    except csv.Error as error:
        raise StoreError(f"the first line of the csv cannot be read ({error}); it names the columns") from None
    if "prompt" not in columns:
        raise StoreError(f"the csv has no column named prompt; its columns are {columns or 'none'}")
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
            except (ValueError, RecursionError):
                yield number, ValueError("not JSON that can be read: a number of too many digits, or too deeply nested")


PARSERS = {".txt": _txt, ".csv": _csv, ".jsonl": _jsonl}


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
