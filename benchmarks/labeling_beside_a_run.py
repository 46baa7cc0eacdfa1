"""Does labeling stay quick while a run trains? Next question and submit, with and without a run in progress, in turns.

One workspace on SQLite with the embedded model. 20 annotators, threads of one process as in the labeling UI's server,
think for 2 to 4 seconds; half of the time a worker beside them does a recipe (DPO on what they said, default settings).
It is told to end between the turns, hands its run back, and goes on from its checkpoint in the next.

    python benchmarks/labeling_beside_a_run.py                           four turns each of 30 seconds
    python benchmarks/labeling_beside_a_run.py --model-cache FOLDER      with a model that was fetched before

Goal: the p95 with a run is at most twice that without, and no transaction fails ("database is locked").
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from labeling import CREW, FLAT_OUT_SECONDS, THINKING, console, fill, label
from platformdirs import user_cache_path
from rich.table import Table
from sqlalchemy import func, select

from db import annotators, runs
from db.engine import reading
from db.tables import Metric
from pipeline import workspace
from pipeline.context import Context
from pipeline.orders import order
from pipeline.recipe import Recipe

COMPARISONS = 10_000
STARTS_WITHIN = 600  # seconds: the model is loaded, and fetched if it is not there
RECIPE = Recipe(name="beside", stages=[{"stage": "snapshot"}, {"stage": "dpo", "settings": {"dpo": {"epochs": 50}}}])


@dataclass
class Turn:
    training: bool
    milliseconds: list[float]  # of question and submit together, of every loop
    steps: int  # that the run did meanwhile
    load: float  # of the machine, over the last minute


def opened(out: Path, model_cache: Path | None) -> Context:
    """A new workspace whose annotators have said enough to train on."""
    root = out / f"workspace-{int(time.time())}"
    root.mkdir(parents=True)
    if model_cache is not None:
        (root / "cache").symlink_to(model_cache)
    made = workspace.init(root)
    ctx = Context(made, made.open_store(), console, actor="benchmark")
    fill(ctx.engine, COMPARISONS)
    label(ctx.engine, crew(ctx), FLAT_OUT_SECONDS, None)
    return ctx


def crew(ctx: Context) -> list[int]:
    with reading(ctx.engine) as session:
        return [annotator.id for annotator in annotators.list_annotators(session)][:CREW]


def steps(ctx: Context) -> int:
    """How far the run has come."""
    with reading(ctx.engine) as session:
        return session.scalar(select(func.max(Metric.step)).where(Metric.name == "loss")) or 0


@contextmanager
def worker(ctx: Context) -> Iterator[None]:
    """Within: a worker of its own process trains."""
    command = [sys.executable, "-m", "pipeline", "-w", str(ctx.workspace.root), "worker", "--once", "--device", "cpu"]
    one = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        before, began = steps(ctx), time.monotonic()
        while steps(ctx) < before + 2:
            if one.poll() is not None or time.monotonic() - began > STARTS_WITHIN:
                sys.exit(f"the worker does not train; see {ctx.workspace.artifacts}/runs/*/*.log")
            time.sleep(0.5)
        yield
        if one.poll() is not None:
            sys.exit("the run was over before the turn was; give it more epochs")
    finally:
        one.send_signal(signal.SIGTERM)
        one.wait()


def turn(ctx: Context, training: bool, seconds: float) -> Turn:
    before = steps(ctx)
    took = label(ctx.engine, crew(ctx), seconds, THINKING)
    return Turn(training, took, steps(ctx) - before, os.getloadavg()[0])


def shown(turns: list[Turn]) -> Table:
    table = Table("run in progress", "p50 ms", "p95", "p99", "loops", "steps meanwhile", "load")
    for training in (False, True):
        for one in (one for one in turns if one.training is training):
            table.add_row(*row(training, one.milliseconds, one.steps, f"{one.load:.1f}"))
    for training in (False, True):
        of_kind = [one for one in turns if one.training is training]
        together = [value for one in of_kind for value in one.milliseconds]
        table.add_row(*row(training, together, sum(one.steps for one in of_kind), "all turns"))
    return table


def row(training: bool, took: list[float], steps_done: int, load: str) -> list[str]:
    figures = (f"{milliseconds:.1f}" for milliseconds in np.percentile(took, (50, 95, 99)))
    return ["yes" if training else "no", *figures, f"{len(took)}", f"{steps_done}", load]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=4, help="of each kind")
    parser.add_argument("--seconds", type=float, default=30.0, help="of a turn")
    parser.add_argument("--model-cache", type=Path, help="a workspace's cache folder with the embedded model in it")
    parser.add_argument(
        "--out", type=Path, default=user_cache_path("prefloop") / "benchmarks" / "labeling-beside-a-run"
    )
    arguments = parser.parse_args()
    failed: list[str] = []
    threading.excepthook = lambda told: failed.append(str(told.exc_value))  # an annotator whose transaction failed
    ctx = opened(arguments.out, arguments.model_cache)
    run_id = order(ctx, {"recipe": RECIPE.as_dict()}).id
    turns: list[Turn] = []
    for number in range(arguments.turns):
        turns.append(turn(ctx, False, arguments.seconds))
        with worker(ctx):
            turns.append(turn(ctx, True, arguments.seconds))
        for one in turns[-2:]:
            console.print(number + 1, *row(one.training, one.milliseconds, one.steps, f"{one.load:.1f}"))
    console.print(shown(turns))
    without, beside = (
        np.percentile([value for one in turns if one.training is training for value in one.milliseconds], 95)
        for training in (False, True)
    )
    with reading(ctx.engine) as session:
        run = runs.get(session, run_id)
    console.print(f"p95 with a run / without: {beside / without:.2f}; the run is {run.state}, attempt {run.attempt}")
    console.print(f"transactions that failed: {len(failed)}", *failed[:3])
    ctx.engine.dispose()


if __name__ == "__main__":
    main()
