"""Prompts of a file on disk (`db.prompt_files` reads them), and those that ship with prefloop."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from db import prompt_files
from db.prompt_files import ReadPrompts

from .errors import PrefloopError


def builtin() -> ReadPrompts:
    """The prompts that ship with prefloop: ten kinds of everyday task, written for it."""
    file = files("pipeline").joinpath("data/prompts.jsonl")
    return prompt_files.parse(file.name, file.read_bytes(), source="prefloop")


def read(path: Path, category: str = "") -> ReadPrompts:
    """Prompts of a file. PrefloopError when there is none, StoreError when it cannot be read as a whole."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise PrefloopError(f"there is no file {path}") from None
    return prompt_files.parse(path.name, content, category)
