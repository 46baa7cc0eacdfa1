"""What a run's stages wrote, as it comes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from db import run_queue, runs
from db.engine import reading

from .context import Context
from .errors import PrefloopError

POLL = 0.5  # seconds


def new_text(ctx: Context, run_id: int, follow: bool) -> Iterator[str]:
    """The logs of a recipe's stages in order, or of the one stage that the run is; `follow` goes on until it is over.

    Raises PrefloopError for a run whose output went to a terminal, and for one that is over and has none.
    """
    folder, pattern = _where(ctx, run_id)
    read: dict[Path, int] = {}  # bytes
    while True:
        with reading(ctx.engine) as session:
            over = runs.get(session, run_id).state not in ("queued", "running")
        for path in sorted(folder.glob(pattern)):
            with path.open("rb") as file:
                file.seek(read.get(path, 0))
                new = file.read()
            if new and path not in read:
                yield f"=== {path.stem}\n"
            if new:
                read[path] = read.get(path, 0) + len(new)
                yield new.decode(errors="replace")
        if over and not read:
            raise PrefloopError(f"run {run_id} has no logs: it never began, or they were removed (retention.log_days)")
        if over or not follow:
            return
        time.sleep(POLL)


def _where(ctx: Context, run_id: int) -> tuple[Path, str]:
    """The folder of the logs, and which of them."""
    with reading(ctx.engine) as session:
        run = runs.get(session, run_id)
        if run.stage == run_queue.STAGE:
            return ctx.workspace.artifacts / str(run.folder), "*.log"
        if run.recipe_run_id is None:
            raise PrefloopError(f"run {run_id} was started by hand: what it wrote went to the terminal")
        whole = runs.get(session, run.recipe_run_id)
    return ctx.workspace.artifacts / str(whole.folder), f"*-{run.stage}.log"
