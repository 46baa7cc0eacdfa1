"""Commands on when to run, and on doing it: schedules, ticks, workers, recipes."""

from __future__ import annotations

import sys
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from db import clock, run_queue, runs, schedules
from db.engine import reading, writing

from . import schedule_report, schedule_words, stopping
from .cli_common import JsonFlag, console, opened, print_json
from .cli_versions import runs_app
from .context import Context
from .environment import give_way
from .errors import PrefloopError

if TYPE_CHECKING:
    from .recipe import Recipe

schedule_app = typer.Typer(no_args_is_help=True, help="Schedules: when a recipe is started. docs/scheduling.md")

RecipeOption = Annotated[Path | None, typer.Option("--recipe", help="A recipe's TOML file; default the built-in one.")]


def _recipe(ctx: Context, path: Path | None) -> Recipe:
    from .recipe import DEFAULT, read

    return read(path or DEFAULT, ctx.workspace.settings)


@schedule_app.command("add")
def schedule_add(
    name: str,
    cron: Annotated[str | None, typer.Option(help="Minute, hour, day, month, weekday: '0 3 * * *'.")] = None,
    timezone: Annotated[str, typer.Option(help="Of the cron expression, as Europe/Berlin.")] = "UTC",
    new_pairs: Annotated[
        int | None, typer.Option(min=1, help="Trigger: new agreed pairs since the last run, at least.")
    ] = None,
    reward_older: Annotated[
        bool, typer.Option("--reward-older", help="Trigger: pairs that no reward model has learned from.")
    ] = False,
    stale: Annotated[bool, typer.Option("--stale", help="Trigger: the current version or its judge is stale.")] = False,
    recipe: RecipeOption = None,
) -> None:
    """Start a recipe at due times, when a trigger is met, or at due times if one is met. The recipe is kept whole."""
    from .due_times import check

    if cron is not None:
        check(cron, timezone)
    when = schedules.When(cron, timezone, new_pairs, reward_older, stale)
    with opened() as ctx:
        checked = _recipe(ctx, recipe).as_dict()
        with writing(ctx.engine) as session:
            schedules.add(session, name, when, checked, ctx.actor)
        console.print(f"schedule {name}: {schedule_words.when(when)}", highlight=False)


@schedule_app.command("list")
def schedule_list(as_json: JsonFlag = False) -> None:
    """Every schedule: when it starts, when it is due next, its last run, and why it waits."""
    with opened(quiet=as_json) as ctx:
        rows = schedule_report.schedule_rows(ctx, clock.now())
    if as_json:
        print_json(rows)
        return
    for row in rows:
        console.print(f"{row['name']}: {row['starts']}", highlight=False, markup=False, soft_wrap=True)
        facts = {"recipe": "recipe", "next": "next", "last run": "last_run", "waits": "waits"}
        for label, key in facts.items():
            console.print(f"  {label:<9}{row[key] or '–'}", highlight=False, markup=False, soft_wrap=True)


@schedule_app.command("pause")
def schedule_pause(name: str) -> None:
    """Start nothing until it is resumed."""
    with opened() as ctx, writing(ctx.engine) as session:
        schedules.pause(session, name, ctx.actor)
    console.print(f"{name} is paused", highlight=False)


@schedule_app.command("resume")
def schedule_resume(name: str) -> None:
    """Go on with the next due time."""
    with opened() as ctx, writing(ctx.engine) as session:
        schedules.resume(session, name, ctx.actor)
    console.print(f"{name} goes on", highlight=False)


@schedule_app.command("remove")
def schedule_remove(name: str) -> None:
    """Start nothing any more; runs of the past stay."""
    with opened() as ctx, writing(ctx.engine) as session:
        schedules.remove(session, name, ctx.actor)
    console.print(f"{name} is removed", highlight=False)


@schedule_app.command("why")
def schedule_why(name: str, limit: int = 20, as_json: JsonFlag = False) -> None:
    """Why ticks of the schedule started nothing, newest first."""
    with opened(quiet=as_json) as ctx, reading(ctx.engine) as session:
        found = schedules.waits(session, schedules.by_name(session, name).id, limit)
    if as_json:
        print_json(
            [{"from": row.first_at, "to": row.last_at, "ticks": row.ticks, "reason": row.reason} for row in found]
        )
        return
    for row in found:
        since, until = (f"{at.astimezone(UTC):%Y-%m-%d %H:%M}" for at in (row.first_at, row.last_at))
        told = f"{since} to {until} UTC, ticks {row.ticks}: {row.reason}"
        console.print(told, highlight=False, markup=False, soft_wrap=True)


def tick(as_json: JsonFlag = False) -> None:
    """Queue the runs that are due, and deliver notifications. Harmless however often and wherever it is called."""
    from .notify import deliver
    from .scheduler import tick as tick_now

    with opened(quiet=as_json) as ctx:
        ticked = tick_now(ctx, clock.now())
        deliver(ctx)
    if as_json:
        print_json([one.__dict__ for one in ticked])
    else:
        for one in ticked:
            done = "nothing started" if one.run_id is None else f"run {one.run_id} queued"
            console.print(f"{one.schedule}: {done}: {one.reason}", highlight=False, markup=False, soft_wrap=True)


DeviceOption = Annotated[
    str | None, typer.Option(help="Which device of this machine it works on: cpu, cuda:1. Default: the first.")
]


def worker(
    once: Annotated[bool, typer.Option("--once", help="Take one run, if there is one, and end.")] = False,
    device: DeviceOption = None,
    ticking: Annotated[bool, typer.Option("--tick", help="Tick every minute, too: no cron is needed.")] = False,
) -> None:
    """Do queued runs, one at a time. SIGTERM hands the run back."""
    from .notify import problem
    from .scheduler import tick as tick_now
    from .worker import Worker, default_device

    with opened() as ctx:
        made = Worker(ctx, device or default_device())
        ctx.say(f"worker {made.terms.owner} on {made.terms.device}")
        if told := problem(ctx.workspace.settings):
            ctx.say(escape(f"nobody will be told anything: {told}"))
        made.work(once, (lambda: tick_now(ctx, clock.now())) if ticking else None)


def run(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe's TOML file; default the built-in one.")] = None,
    device: DeviceOption = None,
) -> None:
    """Do a recipe now, in this terminal. Exit status 1 unless it finishes."""
    from .orders import order
    from .worker import Worker, default_device

    with opened() as ctx:
        made = Worker(ctx, device or default_device(), echo=True)
        if full := made.too_full():
            raise PrefloopError(full)
        ordered = order(ctx, {"recipe": _recipe(ctx, recipe).as_dict()})
        leased = made.lease(only=ordered.id)
        if leased is None:
            raise PrefloopError(
                f"{made.terms.device} is busy; run {ordered.id} is queued, and a worker takes it "
                f"(or `prefloop runs cancel {ordered.id}`)"
            )
        with made.until_told():
            made.carry_out(leased)
        made.courier.finish()
        with reading(ctx.engine) as session:
            ended = runs.get(session, ordered.id)
    print_json(ended.summary)
    if ended.state != "finished":
        raise PrefloopError(f"run {ended.id} is {ended.state}: {ended.error or 'a worker goes on with it'}")


def stage(run: int, name: str) -> None:
    """One stage of a queued recipe, for its worker, which holds stdin open."""
    from .recipe_stages import carry_out
    from .worker import REFUSED

    stopping.end_with(sys.stdin.fileno())
    with opened() as ctx:
        if ctx.workspace.settings.worker.gives_way:
            give_way()
        try:
            print_json(carry_out(ctx, run, name))
        except stopping.Stopped:
            raise
        except PrefloopError as error:
            Console(stderr=True).print(f"Error: {escape(str(error))}", highlight=False, soft_wrap=True)
            raise typer.Exit(REFUSED) from None


@runs_app.command("logs")
def runs_logs(
    run: int, follow: Annotated[bool, typer.Option("--follow", "-f", help="Until it is over.")] = False
) -> None:
    """What the stages of a run wrote."""
    from .run_log import new_text

    with opened(quiet=True) as ctx:
        for text in new_text(ctx, run, follow):
            sys.stdout.write(text)
            sys.stdout.flush()


@runs_app.command("cancel")
def runs_cancel(run: int) -> None:
    """Cancel a queued or running recipe; its stage ends within seconds."""
    with opened() as ctx, writing(ctx.engine) as session:
        row = run_queue.cancel(session, run, ctx.actor)
        done = "is cancelled" if row.state == "cancelled" else "is being cancelled by its worker"
    console.print(f"run {run} {done}", highlight=False)


@runs_app.command("retry")
def runs_retry(
    run: int,
    same: Annotated[bool, typer.Option("--same", help="On the very snapshots, settings, seeds and parents.")] = False,
) -> None:
    """Queue the recipe of a run anew: on what is there today, or --same."""
    from .orders import retry

    with opened() as ctx:
        queued = retry(ctx, run, same)
    console.print(f"run {queued.id} is queued", highlight=False)
