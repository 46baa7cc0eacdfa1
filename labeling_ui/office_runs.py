"""Runs: what is under way and what was done, the figures of one of them, and asking for another."""

import math
from dataclasses import dataclass

from sqlalchemy import Engine

from db import orders, run_facts, run_queue, runs, schedules
from db.columns import JsonObject
from db.run_facts import RunFacts, RunPage
from db.words import RunState
from labeling_ui.office import acting, looking

RUNS = 12  # on a page
_POINTS = 300  # of a curve: more cannot be told apart
# What is looked at first; the others come after it by name.
_FIRST = ("loss", "reward", "kl", "rewards/accuracies", "accuracy", "rewards/margins", "margin", "entropy", "length")
_BESIDE = ("epoch",)  # says no more than the step

Curves = dict[str, list[tuple[int, float]]]  # (step, value) by name


@dataclass(frozen=True, slots=True)
class Startable:
    """What can be started at once; one of the two is set."""

    title: str
    schedule: str | None
    run_id: int | None  # whose recipe is started anew


def page(engine: Engine, person_id: int, state: RunState | None, number: int) -> RunPage:
    with looking(engine, person_id) as session:
        return run_facts.page(session, state, (number - 1) * RUNS, RUNS)


def one(engine: Engine, person_id: int, run_id: int) -> RunFacts:
    with looking(engine, person_id) as session:
        return run_facts.of_run(session, run_id)


def curves(engine: Engine, person_id: int, run_id: int) -> Curves:
    """What was measured of the stage, step by step; single numbers are no curve."""
    with looking(engine, person_id) as session:
        rows = runs.metrics(session, run_id)
    found: Curves = {}
    for name, step, value in rows:
        if name not in _BESIDE and math.isfinite(value):
            found.setdefault(name, []).append((step, value))
    names = sorted(found, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    return {name: _thinned(found[name]) for name in names if len(found[name]) > 1}


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Every so many of many points, and the last."""
    every = -(-len(points) // _POINTS)
    return [point for place, point in enumerate(points, start=1) if not place % every or place == len(points)]


def startable(engine: Engine, person_id: int) -> list[Startable]:
    """What every schedule would start, and the recipe that was run last."""
    with looking(engine, person_id) as session:
        named = [Startable(f"schedule {each.name}", each.name, None) for each in schedules.list_schedules(session)]
        newest = runs.list_runs(session, run_queue.STAGE, limit=1)
    return named + [Startable(f"recipe {_name(run.config)}, as in run {run.id}", None, run.id) for run in newest]


def start(engine: Engine, person_id: int, what: Startable) -> str:
    with acting(engine, person_id) as (session, actor):
        if what.schedule is not None:
            run = orders.start_schedule(session, what.schedule, actor)
        else:
            assert what.run_id is not None, "a schedule, or a run"
            run = orders.start_again(session, what.run_id, actor)
        return f"Run {run.id} is queued. A worker takes it: prefloop worker."


def cancel(engine: Engine, person_id: int, run_id: int) -> str:
    with acting(engine, person_id) as (session, actor):
        run = run_queue.cancel(session, run_id, actor)
        return f"Run {run_id} is cancelled." if run.state == "cancelled" else f"Run {run_id} ends within seconds."


def retry(engine: Engine, person_id: int, run_id: int, same: bool) -> str:
    with acting(engine, person_id) as (session, actor):
        run = orders.retry(session, run_id, same, actor)
        return f"Run {run.id} is queued: {run.config['reason']}."


def _name(config: JsonObject) -> str:
    return str(config["recipe"]["name"] or run_queue.STAGE)
