"""Commands on queues: what annotators are asked, in which order, and how it goes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, get_args

import typer

from db import queues, versions
from db.engine import reading, writing
from db.words import QueueKind

from . import report
from .cli_common import JsonFlag, console, opened, print_json
from .errors import PrefloopError

queues_app = typer.Typer(no_args_is_help=True, help="Queues: questions of one kind for annotators.")

KINDS = ", ".join(get_args(QueueKind))
Overlap = Annotated[int | None, typer.Option(min=1, help="Judgments wanted for each comparison.")]
Priority = Annotated[int | None, typer.Option(help="Higher is asked first.")]
Share = Annotated[float | None, typer.Option(min=0, max=0.5, help="Share of an annotator's tasks, 0 to 0.5.")]
Guidelines = Annotated[Path | None, typer.Option(help="A text file that annotators are shown.")]


@queues_app.command("add")
def queues_add(
    name: str,
    kind: Annotated[str, typer.Option(help=f"One of {KINDS}.")] = "pair",
    guidelines: Guidelines = None,
    aspect: Annotated[list[str] | None, typer.Option(help="Of a rating queue; may be repeated.")] = None,
    strength: Annotated[bool, typer.Option(help="Also ask how strong a preference is.")] = False,
    overlap: Overlap = 1,
    priority: Priority = 0,
    repeats: Share = 0.0,
    gold: Share = 0.0,
) -> None:
    """Make a queue."""
    known = next((word for word in get_args(QueueKind) if word == kind), None)
    if known is None:
        raise PrefloopError(f"--kind {kind!r}: use one of {KINDS}")
    with opened() as ctx, writing(ctx.engine) as session:
        queue = queues.create(
            session,
            name,
            known,
            guidelines=_text(guidelines) or "",
            aspects=aspect or None,
            asks_strength=strength,
            overlap=overlap or 1,
            priority=priority or 0,
            repeat_share=repeats or 0.0,
            gold_share=gold or 0.0,
            actor=ctx.actor,
        )
    console.print(f"queue {queue.name} made; `prefloop queues fill` puts comparisons into it", highlight=False)


@queues_app.command("list")
def queues_list(as_json: JsonFlag = False) -> None:
    """Every queue and how far people are with it."""
    with opened(quiet=as_json) as ctx, reading(ctx.engine) as session:
        rows = [asdict(row) for row in queues.progress(session)]
    if as_json:
        print_json(rows)
    elif rows:
        report.print_rows(console, rows)
    else:
        console.print("no queue yet; `prefloop generate` makes one, or `prefloop queues add`")


@queues_app.command("change")
def queues_change(
    name: str,
    guidelines: Guidelines = None,
    overlap: Overlap = None,
    priority: Priority = None,
    repeats: Share = None,
    gold: Share = None,
) -> None:
    """Change a queue; what is not named stays."""
    with opened() as ctx, writing(ctx.engine) as session:
        queues.update(
            session,
            queues.by_name(session, name).id,
            guidelines=_text(guidelines),
            overlap=overlap,
            priority=priority,
            repeat_share=repeats,
            gold_share=gold,
            actor=ctx.actor,
        )
    console.print(f"queue {name} changed", highlight=False)


@queues_app.command("fill")
def queues_fill(
    name: str,
    version: Annotated[str | None, typer.Option(help="Only candidates of this version.")] = None,
    category: Annotated[str | None, typer.Option(help="Only prompts of this category.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many comparisons.")] = None,
) -> None:
    """Ask about candidates that are in the store (of a demonstration queue: prompts) and not asked yet."""
    with opened() as ctx, writing(ctx.engine) as session:
        made = queues.fill(
            session,
            queues.by_name(session, name).id,
            version_id=versions.by_name(session, version).id if version else None,
            category=category,
            limit=limit,
            actor=ctx.actor,
        )
    console.print(f"{made} comparisons added to {name}", highlight=False)


@queues_app.command("pause")
def queues_pause(name: str) -> None:
    """Hand out nothing new from a queue; what is under way may be finished."""
    with opened() as ctx, writing(ctx.engine) as session:
        queues.pause(session, queues.by_name(session, name).id, ctx.actor)
    console.print(f"queue {name} is paused", highlight=False)


@queues_app.command("resume")
def queues_resume(name: str) -> None:
    """Go on with a paused queue."""
    with opened() as ctx, writing(ctx.engine) as session:
        queues.resume(session, queues.by_name(session, name).id, ctx.actor)
    console.print(f"queue {name} goes on", highlight=False)


def _text(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PrefloopError(f"--guidelines {file} cannot be read: {error}") from None
