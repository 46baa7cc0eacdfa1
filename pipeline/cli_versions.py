"""Commands on versions and runs: examine, compare, promote, roll back, look at."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from db import evaluations, promotions, run_facts, runs, versions
from db.engine import reading, writing

from . import report, report_compare
from .cli_common import AnnotatorKind, JsonFlag, annotators_kind, console, opened, print_json
from .cli_people import compare_by_people
from .context import Context
from .errors import PrefloopError

versions_app = typer.Typer(no_args_is_help=True, help="Versions of the policy and of reward models.")
promotions_app = typer.Typer(
    no_args_is_help=True, help="Promotions: how `current` came where it is, and on what evidence."
)
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


JudgeOption = Annotated[
    list[str] | None,
    typer.Option("--judge", help="reward:NAME, rule:NAME, llm:MODEL or taste:NAME; repeatable, the first decides."),
]


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
    from .leaderboard import picture_of

    if by == "people":
        from .ask_people import Wanted

        wanted = Wanted(judges, prompts, queue, priority)
        return compare_by_people(a, b, wanted, annotators_kind(annotators), watch, as_json)
    if by != "judges":
        raise PrefloopError(f"--by {by!r}: use judges or people")
    with opened(quiet=as_json) as ctx:
        with reading(ctx.engine) as session:
            first, second = versions.by_name(session, a), versions.by_name(session, b)
        run_id, result = compare_versions(ctx, first, second, judge or _judges(ctx))
        picture = picture_of(ctx, run_id)
    if as_json:
        print_json(result)
    else:
        report_compare.print_comparison(console, result)
        console.print(f"picture: {picture}", style="dim", highlight=False, soft_wrap=True)


def _judges(ctx: Context) -> list[str]:
    """Who judges when nobody is named: those of the gate, or else the newest reward model."""
    from .judges import default_judge

    return ctx.workspace.settings.gate.judges or [default_judge(ctx)]


PictureOption = Annotated[Path | None, typer.Option(help="Save a picture, too: a .png or .svg file.")]


def leaderboard(picture: PictureOption = None, as_json: JsonFlag = False) -> None:
    """How versions stand by each judge, and by people's votes, from all that was compared so far."""
    from .leaderboard import board, rows, save_picture, show

    if picture is not None and picture.suffix not in (".png", ".svg"):
        raise PrefloopError(f"a picture is a .png or .svg file, not {picture}")
    with opened(quiet=as_json) as ctx:
        found = board(ctx)
    if as_json:
        print_json(rows(found))
    else:
        show(console, found)
    if picture is not None and found.judges:
        save_picture(found, picture)
        if not as_json:
            console.print(f"picture: {picture}", style="dim", highlight=False, soft_wrap=True)


def promote(
    version: str,
    judge: JudgeOption = None,
    force: Annotated[bool, typer.Option("--force", help="Past a gate that refuses; it is recorded.")] = False,
    reason: Annotated[str, typer.Option(help="Why it is forced.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Make a version current if the gate finds it better than the current one; otherwise say why not (status 1)."""
    from .compare import compare as compare_versions
    from .promote import ensure_current

    if force and not reason.strip():
        raise PrefloopError('--force needs a reason, which is recorded: --reason "…"')
    with opened(quiet=as_json) as ctx:
        current = ensure_current(ctx)
        with reading(ctx.engine) as session:
            candidate = versions.promotable(session, version)
        named = dict.fromkeys([*ctx.workspace.settings.gate.judges, *(judge or [])]) or _judges(ctx)
        run_id, result = compare_versions(ctx, candidate, current, list(named))
        promoted = result["gate"]["passed"] or force
        if promoted:
            with writing(ctx.engine) as session:
                promotions.promote_compared(session, run_id, ctx.actor, reason if force else None)
    if as_json:
        forced = promoted and not result["gate"]["passed"]
        print_json({"promoted": promoted, "forced": forced, "run": run_id, **result})
    else:
        report_compare.print_gate(console, result)
        decided = "promoted" if result["gate"]["passed"] else "promoted by force" if promoted else "not promoted"
        console.print(f"{decided}: {candidate.name}, against {current.name}", highlight=False)
    if not promoted:
        raise typer.Exit(1)


def rollback(reason: str = "") -> None:
    """Move `current` back to the version before the last promotion."""
    with opened() as ctx, writing(ctx.engine) as session:
        move = versions.rollback(session, ctx.actor, reason)
        now = versions.get(session, move.version_id).name
    console.print(f"rolled back: {now} is current")


def drift(as_json: JsonFlag = False) -> None:
    """What the promotions so far did to the model: first, previous and current version on a frozen set of prompts."""
    from .drift import PICTURE
    from .drift import drift as measure

    with opened(quiet=as_json) as ctx:
        run_id, result = measure(ctx)
        picture = ctx.workspace.artifacts / "runs" / str(run_id) / PICTURE
    if as_json:
        print_json({"run": run_id, "picture": str(picture), **result})
    else:
        report_compare.print_drift(console, result)
        console.print(f"picture: {picture}", style="dim", highlight=False, soft_wrap=True)


@promotions_app.command("list")
def promotions_list(as_json: JsonFlag = False) -> None:
    """Every promotion and rollback, oldest first. --json has the evidence."""
    with opened(quiet=as_json) as ctx, reading(ctx.engine) as session:
        moves = promotions.list_moves(session)
    if as_json:
        print_json([asdict(move) for move in moves])
    else:
        report_compare.print_moves(console, moves)


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
def runs_show(run: int, as_json: JsonFlag = False) -> None:
    """One run: how far it is, what it cost and made. --json has its config, summary and metrics, too."""
    from .run_report import print_run

    with opened(quiet=as_json) as ctx, reading(ctx.engine) as session:
        row, found = runs.get(session, run), run_facts.of_run(session, run)
        facts = {column.name: getattr(row, column.name) for column in row.__table__.columns}
        facts = {**facts, **asdict(found), "progress": row.progress, "metrics": runs.metrics(session, run)}
    if as_json:
        print_json(facts)
    else:
        print_run(console, found)
