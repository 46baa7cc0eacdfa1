"""Commands on versions and runs: examine, compare, promote, roll back, look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from db import evaluations, runs, versions
from db.engine import reading, writing

from . import report
from .cli_common import AnnotatorKind, JsonFlag, annotators_kind, console, opened, print_json
from .cli_people import compare_by_people
from .context import Context
from .errors import PrefloopError

if TYPE_CHECKING:
    pass

versions_app = typer.Typer(no_args_is_help=True, help="Versions of the policy and of reward models.")
runs_app = typer.Typer(no_args_is_help=True, help="Runs: what was executed, with which result.")


def exam(reward_model: str, as_json: JsonFlag = False) -> None:
    """Examine a reward model: accuracy, calibration, length, planted tricks. Exit status 1 if it fails."""
    from .take_exam import take_exam

    with opened(quiet=as_json) as ctx:
        with reading(ctx.engine) as session:
            version = versions.by_name(session, reward_model)
        run_id, result = take_exam(ctx, version)
        picture = ctx.workspace.artifacts / "runs" / str(run_id) / "reliability.png"
    if as_json:
        print_json(result)
    else:
        report.print_exam(console, result)
        console.print(f"picture: {picture}", style="dim", highlight=False, soft_wrap=True)
    if not result["passed"]:
        raise typer.Exit(1)


def _default_judge(ctx: Context) -> str:
    with reading(ctx.engine) as session:
        rewards = versions.list_versions(session, "reward")
    if not rewards:
        raise PrefloopError("no judge: there is no reward model yet; train one, or name one with --judge taste:NAME")
    return f"reward:{rewards[-1].name}"


JudgeOption = Annotated[list[str] | None, typer.Option("--judge", help="reward:NAME or taste:NAME; may be repeated.")]


def compare(
    a: str,
    b: str,
    judge: JudgeOption = None,
    by: Annotated[str, typer.Option(help="judges, or people: blind pairs in a queue for annotators.")] = "judges",
    judges: Annotated[int | None, typer.Option(min=1, help="By people: judgments wanted for each pair.")] = None,
    prompts: Annotated[int | None, typer.Option(min=1, help="By people: held-out prompts; default all.")] = None,
    priority: Annotated[int | None, typer.Option(help="By people: of the queue; training labels have 0.")] = None,
    queue: Annotated[str, typer.Option(help="By people: name of the queue.")] = evaluations.DEFAULT,
    annotators: AnnotatorKind = "human",
    watch: Annotated[bool, typer.Option("--watch", help="By people: go on showing how it stands.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Compare two versions on the held-out prompts, by judges or by people."""
    from .compare import compare as compare_versions

    if by == "people":
        from .ask_people import Wanted

        wanted = Wanted(judges, prompts, queue, priority)
        return compare_by_people(a, b, wanted, annotators_kind(annotators), watch, as_json)
    if by != "judges":
        raise PrefloopError(f"--by {by!r}: use judges or people")
    with opened(quiet=as_json) as ctx:
        with reading(ctx.engine) as session:
            first, second = versions.by_name(session, a), versions.by_name(session, b)
        _, result = compare_versions(ctx, first, second, judge or [_default_judge(ctx)])
    if as_json:
        print_json(result)
    else:
        report.print_comparison(console, result)


def leaderboard(as_json: JsonFlag = False) -> None:
    """Every policy against the base, from the comparisons made so far."""
    with opened(quiet=as_json) as ctx:
        rows = report.leaderboard(ctx)
    if as_json:
        print_json(rows)
    else:
        report.print_leaderboard(console, rows)


def promote(version: str, judge: Annotated[str | None, typer.Option(help="The deciding judge.")] = None) -> None:
    """Make a version current if it is shown to be better than the current one; otherwise say why not (status 1)."""
    from .compare import compare as compare_versions
    from .promote import ensure_current, promote_if_better

    with opened() as ctx:
        current = ensure_current(ctx)
        with reading(ctx.engine) as session:
            candidate = versions.by_name(session, version)
        deciding = judge or _default_judge(ctx)
        run_id, result = compare_versions(ctx, candidate, current, [deciding])
        decision = promote_if_better(ctx, candidate, run_id, result, deciding)
    console.print(f"{'promoted' if decision.promote else 'not promoted'}: {decision.reason}", highlight=False)
    if not decision.promote:
        raise typer.Exit(1)


def rollback(reason: str = "") -> None:
    """Move `current` back to the version before the last promotion."""
    with opened() as ctx, writing(ctx.engine) as session:
        move = versions.rollback(session, ctx.actor, reason)
        now = versions.get(session, move.version_id).name
    console.print(f"rolled back: {now} is current")


@versions_app.command("list")
def versions_list(as_json: JsonFlag = False) -> None:
    """All versions, oldest first."""
    with opened(quiet=as_json) as ctx:
        rows = report.version_rows(ctx)
    if as_json:
        print_json(rows)
    else:
        report.print_rows(console, rows)


@versions_app.command("show")
def versions_show(name: str) -> None:
    """One version: where it comes from and what it was trained on."""
    with opened() as ctx:
        with reading(ctx.engine) as session:
            version = versions.by_name(session, name)
        report.print_version(console, ctx, version)


@runs_app.command("list")
def runs_list(limit: int = 20, as_json: JsonFlag = False) -> None:
    """The newest runs."""
    with opened(quiet=as_json) as ctx:
        rows = report.run_rows(ctx, limit)
    if as_json:
        print_json(rows)
    else:
        report.print_rows(console, rows)


@runs_app.command("show")
def runs_show(run: int) -> None:
    """One run as JSON: config, summary, metrics, error, folder."""
    with opened(quiet=True) as ctx, reading(ctx.engine) as session:
        row = runs.get(session, run)
        facts = {column.name: getattr(row, column.name) for column in row.__table__.columns}
        facts["metrics"] = runs.metrics(session, run)
    print_json(facts)
