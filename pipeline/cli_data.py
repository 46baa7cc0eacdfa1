"""Commands on data: prompts, candidates, simulated judgments, snapshots."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from db import evaluations, prompts, queues, snapshots, versions
from db.engine import reading, writing

from . import import_prompts
from .cli_common import AnnotatorKind, JsonFlag, annotators_kind, console, opened, print_json, row_shape
from .errors import PrefloopError

prompts_app = typer.Typer(no_args_is_help=True, help="Prompts: import, add, list.")
snapshot_app = typer.Typer(no_args_is_help=True, help="Snapshots: judgments frozen into training rows.")


@prompts_app.command("import")
def prompts_import(
    file: Annotated[
        Path | None, typer.Argument(help="A .txt, .csv or .jsonl file; none: the built-in prompts.")
    ] = None,
    category: Annotated[str, typer.Option(help="Category of all of them.")] = "",
    strict: Annotated[bool, typer.Option(help="Import nothing if one line is bad.")] = False,
) -> None:
    """Import prompts. Duplicates are counted and not stored twice; bad lines are reported and left out."""
    found = import_prompts.read(file, category) if file else import_prompts.builtin()
    for bad in found.bad:
        console.print(f"[yellow]{escape(str(bad))}[/yellow]", highlight=False)
    if found.bad and strict:
        raise PrefloopError(f"{len(found.bad)} bad lines and --strict: nothing was imported")
    with opened() as ctx, writing(ctx.engine) as session:
        result = prompts.add_many(
            session, found.items, heldout_share=ctx.workspace.settings.prompts.heldout_share, actor=ctx.actor
        )
    console.print(f"{result.added} prompts added, {result.duplicates} duplicates, {len(found.bad)} bad lines")


@prompts_app.command("add")
def prompts_add(text: str, category: str = "") -> None:
    """Add one prompt."""
    with opened() as ctx, writing(ctx.engine) as session:
        message = [{"role": "user", "content": text}]
        share = ctx.workspace.settings.prompts.heldout_share
        added = prompts.add(session, message, category, "cli", heldout_share=share, actor=ctx.actor)
    console.print(f"prompt {added.id} {'added' if added.created else 'was there already'}")


@prompts_app.command("list")
def prompts_list(split: str | None = None, category: str | None = None, as_json: JsonFlag = False) -> None:
    """List prompts."""
    if split not in (None, "train", "heldout"):
        raise PrefloopError(f"--split {split!r}: use train or heldout")
    with opened() as ctx, reading(ctx.engine) as session:
        rows = prompts.list_prompts(session, split=split, category=category)  # type: ignore[arg-type]
    if as_json:
        print_json([{"id": r.id, "split": r.split, "category": r.category, "messages": r.messages} for r in rows])
        return
    table = Table("id", "split", "category", "last turn")
    for row in rows:
        table.add_row(str(row.id), row.split, row.category, escape(row.messages[-1]["content"][:90]))
    console.print(table)


def generate(
    version: Annotated[str | None, typer.Option(help="Name of the version; default the current one.")] = None,
    samples: Annotated[int | None, typer.Option(min=2, help="Candidates a prompt.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Prompts; default all of the train split.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed draws other candidates.")] = None,
    ask: Annotated[bool, typer.Option(help="Also ask annotators to compare two of each prompt's candidates.")] = True,
) -> None:
    """Write candidates for prompts and queue comparisons of them. Only what is missing is generated."""
    from .ask import ask as ask_about
    from .draw import draw
    from .promote import ensure_current

    with opened() as ctx:
        settings = ctx.workspace.settings
        current = ensure_current(ctx)
        with reading(ctx.engine) as session:
            policy = versions.by_name(session, version) if version else current
            chosen = prompts.list_prompts(session, split="train")[:limit]
        if not chosen:
            raise PrefloopError("there are no prompts to generate for; run `prefloop prompts import`")
        count = samples or settings.generate.candidates_per_prompt
        drawn = draw(ctx, policy, chosen, count, settings.sampling, settings.seed if seed is None else seed)
        asked = ask_about(ctx, drawn.candidates, None, settings.label.overlap, settings.seed) if ask else 0
    rate = f", {drawn.tokens / drawn.seconds:.0f} tokens/s" if drawn.tokens else ""
    console.print(f"{drawn.generated} candidates written{rate}; {asked} comparisons queued", highlight=False)


def simulate(
    taste: Annotated[str | None, typer.Option(help="concise, structured or warm; default as in prefloop.toml.")] = None,
    evaluation: Annotated[
        bool, typer.Option("--evaluation", help="Those of `compare --by people` instead, for a trial.")
    ] = False,
) -> None:
    """Let simulated annotators judge all pairs that the loop asked. Their judgments stay marked as simulated."""
    from .ask import simulate as simulate_all

    with opened() as ctx:
        settings = ctx.workspace.settings
        section = settings.simulate.model_copy(update={"taste": taste} if taste else {})
        queue = evaluations.DEFAULT if evaluation else queues.DEFAULT
        choices = simulate_all(ctx, section, settings.seed, queue=queue)
    console.print(f"{choices.total()} simulated judgments: {dict(choices)}", highlight=False)


@snapshot_app.command("create")
def snapshot_create(
    annotators: AnnotatorKind = "human",
    shape: Annotated[str, typer.Option(help="Of the rows: pairs, demonstrations or thumbs.")] = "pairs",
) -> None:
    """Freeze today's judgments into training rows."""
    from .pairs import RowPolicy
    from .snapshot import freeze

    with opened() as ctx:
        frozen = freeze(ctx, RowPolicy(shape=row_shape(shape), annotators=annotators_kind(annotators)))
    word = "created" if frozen.created else "exists already"
    console.print(f"snapshot {frozen.snapshot.id} {word}: {frozen.snapshot.counts}", highlight=False)


@snapshot_app.command("show")
def snapshot_show(snapshot: str, rows: bool = False, as_json: JsonFlag = False) -> None:
    """One snapshot by id or sha256 prefix: policy, counts, and with --rows the training rows."""
    from .snapshot import rebuild

    with opened(quiet=as_json) as ctx:
        with reading(ctx.engine) as session:
            row = snapshots.get(session, snapshot)
        facts = {"id": row.id, "sha256": row.sha256, "policy": row.policy, "counts": row.counts}
        if rows:
            facts["rows"] = [made.__dict__ for made in rebuild(ctx, row)]
    print_json(facts)
