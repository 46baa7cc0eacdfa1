"""The demo: the whole loop on the embedded model, with simulated annotators in the place of people."""

from __future__ import annotations

import dataclasses
import time

from db import prompts
from db.engine import writing

from . import import_prompts, report
from .context import Context

JUDGMENTS = 50  # in a round; fewer than the loop's default, so that two rounds end within a quarter of an hour


def run(ctx: Context, rounds: int, taste: str, judgments: int = JUDGMENTS) -> None:
    """Import the built-in prompts, run the rounds, print the table and what to do next."""
    from .loop import run_round

    started = time.monotonic()
    settings = ctx.workspace.settings
    simulated = settings.simulate.model_copy(update={"taste": taste})
    label = settings.label.model_copy(update={"prompts_per_round": judgments})
    settings = settings.model_copy(update={"simulate": simulated, "label": label})
    ctx = dataclasses.replace(ctx, workspace=dataclasses.replace(ctx.workspace, settings=settings))
    ctx.console.print(
        f"[bold]prefloop demo[/bold]: {rounds} rounds of {judgments} judgments; the annotators are "
        f"[bold]simulated[/bold], with the planted taste “{taste}” and "
        f"{simulated.flip_share:.0%} of their answers flipped"
    )
    with writing(ctx.engine) as session:
        found = import_prompts.builtin()
        added = prompts.add_many(session, found.items, heldout_share=settings.prompts.heldout_share, actor="demo")
        count = prompts.count_by_split(session)
    ctx.say(
        f"{added.added} prompts added, {added.duplicates} there already: "
        f"{count['train']} to train on, {count['heldout']} held out"
    )
    summaries = []
    for number in range(1, rounds + 1):
        summary = run_round(ctx, f"demo-{taste}", number, "simulated")
        summaries.append(summary)
        ctx.say(f"round {number}: {summary['decision']}")
    report.print_rounds(ctx.console, summaries)
    ctx.console.print(
        f"{time.monotonic() - started:.0f} s in all. The workspace is {ctx.workspace.root}\n"
        f"To judge pairs yourself on the same store:\n\n    make ui\n",
        highlight=False,
    )
