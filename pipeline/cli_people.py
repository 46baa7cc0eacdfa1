"""Commands that ask people: which of two versions is better, and how many judgments it takes to tell."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live

from db import activity, clock, prompts, versions
from db.engine import reading

from .cli_common import JsonFlag, console, opened, print_json
from .errors import PrefloopError

if TYPE_CHECKING:
    from db.words import AnnotatorKind

    from .ask_people import Wanted

EVERY = 5.0  # seconds between two looks of --watch


def compare_by_people(a: str, b: str, wanted: Wanted, kind: AnnotatorKind, watch: bool, as_json: bool) -> None:
    """`prefloop compare A B --by people`: ask what is missing, and show how it stands."""
    from . import report_people
    from .ask_people import ask_people, settle

    if watch and as_json:
        raise PrefloopError("--watch shows a picture that changes and --json prints once; choose one of them")
    with opened(quiet=as_json) as ctx:
        with reading(ctx.engine) as session:
            first, second = versions.by_name(session, a), versions.by_name(session, b)
        asked, standing = ask_people(ctx, first, second, wanted, kind)
        if as_json:
            print_json({"asked": asdict(asked) if asked else None, **asdict(standing)})
            return
        if asked:
            console.print(report_people.of_asked(asked, wanted.queue), highlight=False)
        if not watch:
            console.print(report_people.of_standing(standing), highlight=False)
            return
        with Live(report_people.of_standing(standing), console=console) as live:
            while standing.owed and not standing.decided:
                time.sleep(EVERY)
                standing = settle(ctx, first, second, kind)
                live.update(report_people.of_standing(standing))


def plan(
    rate: Annotated[float, typer.Option(help="The win rate to detect, a tie half.")] = 0.55,
    power: Annotated[float, typer.Option(help="How surely it is detected, 0 to 1.")] = 0.8,
    confidence: Annotated[float | None, typer.Option(help="Of the verdict; default as in prefloop.toml.")] = None,
    ties: Annotated[float, typer.Option(help="Expected share of ties, 0 to 1.")] = 0.0,
    as_json: JsonFlag = False,
) -> None:
    """How many of people's judgments it takes to detect a win rate, and how many minutes that is at their pace."""
    from . import report_people
    from .ask_people import ACTIVE
    from .plan import plan as plan_for

    with opened(quiet=as_json) as ctx:
        with reading(ctx.engine) as session:
            heldout = prompts.count_by_split(session)["heldout"]
            speed = activity.speed(session, clock.now() - ACTIVE)
        sure = ctx.workspace.settings.compare.confidence if confidence is None else confidence
        made = plan_for(rate, sure, power, ties, heldout, speed)
    if as_json:
        print_json(asdict(made))
    else:
        console.print(report_people.of_plan(made, speed.measured), highlight=False)
