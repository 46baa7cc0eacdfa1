"""What the commands share: the opened workspace, JSON, and common options."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal, cast, get_args

import typer
from rich.console import Console

from . import workspace
from .context import Context
from .errors import PrefloopError
from .pairs import Shape

console = Console()
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
AnnotatorKind = Annotated[str, typer.Option("--annotators", help="Whose judgments: human or simulated.")]


@contextmanager
def opened(quiet: bool = False) -> Iterator[Context]:
    """The workspace and its store. `quiet` sends progress to stderr, so that --json prints JSON alone."""
    found = workspace.find(workspace.default_root())
    engine = found.open_store()
    try:
        yield Context(found, engine, Console(stderr=True) if quiet else console, actor=os.environ.get("USER", "cli"))
    finally:
        engine.dispose()


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def row_shape(text: str) -> Shape:
    if text not in get_args(Shape):
        raise PrefloopError(f"--shape {text!r}: use {', '.join(get_args(Shape))}")
    return cast(Shape, text)


def annotators_kind(text: str) -> Literal["human", "simulated"]:
    if text == "human":
        return "human"
    if text == "simulated":
        return "simulated"
    raise PrefloopError(f"--annotators {text!r}: use human or simulated")
