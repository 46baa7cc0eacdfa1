"""Runs of a recipe that somebody asks for: anew, or once more."""

from __future__ import annotations

from typing import Any

from db import judgments, run_queue, runs
from db.engine import reading, writing
from db.tables import Run

from .context import Context
from .errors import PrefloopError


def order(ctx: Context, config: dict[str, Any]) -> Run:
    """Queue a recipe that somebody asks for by hand."""
    with writing(ctx.engine) as session:
        config = {"judgments_up_to": judgments.newest_id(session), "reason": f"asked for by {ctx.actor}", **config}
        run = run_queue.enqueue(session, config, ctx.actor)
    assert run is not None, "a run without a schedule has no slot that could be taken"
    return run


def retry(ctx: Context, run_id: int, same: bool) -> Run:
    """Queue the recipe of a run anew: on today's data and settings, or on the very ones of that run.

    Raises PrefloopError for a run that is no recipe's, is not over, or was never begun (`same`).
    """
    with reading(ctx.engine) as session:
        run = runs.get(session, run_id)
    if run.stage != run_queue.STAGE:
        whole = "" if run.recipe_run_id is None else f"; retry run {run.recipe_run_id}, which it is of"
        raise PrefloopError(f"run {run_id} is one stage ({run.stage}), not a recipe{whole}")
    if run.state in ("queued", "running"):
        raise PrefloopError(f"run {run_id} is {run.state} still; cancel it first, or wait")
    config = {"recipe": run.config["recipe"], "reason": f"run {run_id} tried again by {ctx.actor}"}
    if same:
        if "resolved" not in run.config:
            raise PrefloopError(f"run {run_id} was over before it began; retry it without --same")
        config |= {"resolved": run.config["resolved"], "judgments_up_to": run.config["judgments_up_to"]}
    return order(ctx, config)
