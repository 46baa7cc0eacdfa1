"""Commands that keep house: notifications, and making room."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from db import notifications
from db.engine import reading

from .cli_common import JsonFlag, console, opened, print_json
from .errors import PrefloopError
from .report import print_garbage, print_rows

notify_app = typer.Typer(no_args_is_help=True, help="Notifications: a webhook and a command. docs/housekeeping.md")


@notify_app.command("list")
def notify_list(limit: int = 20, as_json: JsonFlag = False) -> None:
    """What was told and what is owed, newest first, with the last error."""
    from .notify import wanted

    with opened(quiet=as_json) as ctx:
        asked = wanted(ctx.workspace.settings.notify)
        with reading(ctx.engine) as session:
            found = notifications.newest(session, asked, limit)
    rows = [
        {
            "at": f"{row.created_at:%m-%d %H:%M}",
            "about": row.subject,
            "to": row.receiver,
            "state": row.state.replace("_", " "),
            "attempts": row.attempts,
            "last error": row.last_error,
        }
        for row in found
    ]
    if as_json:
        print_json([{**row, "payload": kept.payload} for row, kept in zip(rows, found, strict=True)])
    elif not asked.receivers:
        console.print("nobody is notified; set url or command in section \\[notify] of prefloop.toml")
    else:
        print_rows(console, rows)


@notify_app.command("test")
def notify_test() -> None:
    """Send a trial event to every receiver now, and say what came back."""
    from .notify import trial

    with opened() as ctx:
        for receiver, came in trial(ctx):
            console.print(f"{receiver}: {escape(came)}", highlight=False, soft_wrap=True)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Remove checkpoints, adapters, logs and orphans that nothing needs: the rules are in docs/housekeeping.md."""
    from .garbage import collect, survey

    if as_json and not (dry_run or yes):
        raise PrefloopError("--json asks nothing; say --dry-run, or --yes")
    with opened(quiet=as_json) as ctx:
        found = survey(ctx)
        if not dry_run and found and not yes:
            print_garbage(console, found, "to be removed")
            typer.confirm("Remove it?", abort=True)
        try:
            gone = found if dry_run else collect(ctx, found)
        except OSError as error:
            raise PrefloopError(f"{error}; mend that and run it again: what is gone by now is gone") from None
    if as_json:
        total = sum(each.bytes for each in gone)
        print_json({"removed": not dry_run, "bytes": total, "found": [asdict(each) for each in gone]})
    elif gone:
        print_garbage(console, gone, "would be removed" if dry_run else "removed")
    else:
        console.print("nothing to remove")


@notify_app.command("deliver")
def notify_deliver() -> None:
    """Deliver what is due. Workers and ticks do it by themselves."""
    from .notify import deliver

    with opened() as ctx:
        deliver(ctx)
