"""Commands that keep house: notifications, and making room."""

from __future__ import annotations

import typer
from rich.markup import escape

from db import notifications
from db.engine import reading

from .cli_common import JsonFlag, console, opened, print_json
from .report import print_rows

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


@notify_app.command("deliver")
def notify_deliver() -> None:
    """Deliver what is due. Workers and ticks do it by themselves."""
    from .notify import deliver

    with opened() as ctx:
        deliver(ctx)
