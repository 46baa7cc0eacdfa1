"""One run for people: how far it is, how long it will take, what it cost and what it made."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from db.run_facts import RunFacts, StageFacts

from .progress import clock
from .report import PLAIN


def print_run(console: Console, run: RunFacts) -> None:
    facts = {
        "run": f"{run.id} {run.what}, {run.state}, attempt {run.attempt}",
        "why": run.why,
        "device": run.device,
        "device time": None if run.seconds is None else clock(run.seconds),
        "time left": None if run.is_over else "unknown" if run.seconds_left is None else clock(run.seconds_left),
        "tokens": None if run.tokens is None else f"{run.tokens:,}",
        "peak memory": None if run.peak_memory_bytes is None else f"{run.peak_memory_bytes / 1e9:.2f} GB",
        "energy": None if run.watt_hours is None else f"{run.watt_hours:.2g} Wh, estimated: device time × worker.watts",
        "made": run.version,
        "error": run.error,
    }
    for label, fact in facts.items():
        if fact:
            console.print(f"{label:<13}{fact}", markup=False, highlight=False, soft_wrap=True)
    table = Table("stage", "state", "run", "time", "what came of it", **PLAIN)
    for stage in run.stages:
        spent = "" if stage.seconds is None else clock(stage.seconds)
        table.add_row(stage.stage, stage.state, f"{stage.run_id or ''}", spent, escape(_said(stage)))
    console.print(table)


def _said(stage: StageFacts) -> str:
    at = stage.progress
    if at is None or not at.total:
        return stage.came_of_it
    return ", ".join(filter(None, [f"{at.what}: {at.done} of {at.total} {at.unit}", at.said]))
