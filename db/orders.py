"""Runs of a recipe that somebody asks for: anew, once more, or what a schedule would start."""

from sqlalchemy.orm import Session

from . import clock, judgments, run_queue, runs, schedules
from .columns import JsonObject
from .errors import StoreError
from .tables import Run


def order(session: Session, config: JsonObject, actor: str) -> Run:
    """Queue a recipe that somebody asks for by hand; `config` has it whole, as `recipe`."""
    told = {"judgments_up_to": judgments.newest_id(session), "reason": f"asked for by {actor}"}
    run = run_queue.enqueue(session, {**told, **config}, actor)
    assert run is not None, "a run without a schedule has no slot that could be taken"
    return run


def retry(session: Session, run_id: int, same: bool, actor: str) -> Run:
    """Queue the recipe of a run anew: on today's data and settings, or on the very ones of that run.

    Raises StoreError for a run that is no recipe's, is not over, or was never begun (`same`).
    """
    run = runs.get(session, run_id)
    if run.stage != run_queue.STAGE:
        whole = "" if run.recipe_run_id is None else f"; retry run {run.recipe_run_id}, which it is of"
        raise StoreError(f"run {run_id} is one stage ({run.stage}), not a recipe{whole}")
    if run.state in ("queued", "running"):
        raise StoreError(f"run {run_id} is {run.state} still; cancel it first, or wait")
    config = {"recipe": run.config["recipe"], "reason": f"run {run_id} tried again by {actor}"}
    if same:
        if "resolved" not in run.config:
            raise StoreError(f"run {run_id} was over before it began; retry it on what is there today")
        config |= {"resolved": run.config["resolved"], "judgments_up_to": run.config["judgments_up_to"]}
    return order(session, config, actor)


def start_again(session: Session, run_id: int, actor: str) -> Run:
    """Queue the recipe of a run, whatever has become of that, on today's data and settings."""
    recipe = runs.get(session, run_id).config.get("recipe")
    if recipe is None:
        raise StoreError(f"run {run_id} is no recipe's; choose another")
    return order(session, {"recipe": recipe}, actor)


def start_schedule(session: Session, name: str, actor: str) -> Run:
    """Queue what the schedule would start, now: whatever its triggers say, and even if it is paused.

    It counts as the schedule's last run. StoreError while the one before is queued or running.
    """
    schedule = schedules.by_name(session, name)
    last = schedules.newest_run(session, schedule.id)
    if last is not None and last.state in ("queued", "running"):
        raise StoreError(f"run {last.id} of {name} is {last.state} still; cancel it first, or wait")
    config = {"recipe": schedule.recipe, "judgments_up_to": judgments.newest_id(session)}
    seen = None if last is None else last.id
    run = schedules.start(session, schedule.id, clock.now(), seen, config, f"asked for by {actor}", actor)
    if run is None:
        raise StoreError(f"{name} has just started a run by itself; look at the list of runs")
    return run
