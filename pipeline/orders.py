"""Runs of a recipe that somebody at the command line asks for."""

from __future__ import annotations

from typing import Any

from db import orders
from db.engine import writing
from db.tables import Run

from .context import Context


def order(ctx: Context, config: dict[str, Any]) -> Run:
    """Queue a recipe; `config` has it whole, as `recipe`."""
    with writing(ctx.engine) as session:
        return orders.order(session, config, ctx.actor)


def retry(ctx: Context, run_id: int, same: bool) -> Run:
    """Queue the recipe of a run anew, as `db.orders.retry` does."""
    with writing(ctx.engine) as session:
        return orders.retry(session, run_id, same, ctx.actor)
