"""Commands on people: who labels, what they may do, and how they log in."""

from __future__ import annotations

import sys
from typing import Annotated, get_args

import typer
from rich.markup import escape
from sqlalchemy.orm import Session

from db import annotators, logins
from db.engine import reading, writing
from db.tables import Annotator
from db.words import AnnotatorRole

from . import report
from .cli_common import JsonFlag, console, opened, print_json
from .errors import PrefloopError

users_app = typer.Typer(no_args_is_help=True, help="People: add, list, roles, passwords, disable, withdraw.")

Stdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin; else one is made.")]
ROLES = ", ".join(get_args(AnnotatorRole))


@users_app.command("add")
def users_add(
    name: str, role: Annotated[str, typer.Option(help=f"One of {ROLES}.")] = "annotator", password_stdin: Stdin = False
) -> None:
    """Add a person who logs in with a password. A made password is shown once."""
    known = _role(role)
    password = _password(password_stdin)
    with opened() as ctx, writing(ctx.engine) as session:
        annotator = annotators.add(session, name, known, ctx.actor)
        logins.set_password(session, annotator.id, password, ctx.actor)
    _say(f"{name} can log in, as {known}")
    _show(password, password_stdin)


@users_app.command("list")
def users_list(as_json: JsonFlag = False) -> None:
    """List annotators, people and simulated ones: role, how they log in, state, and when they were last seen."""
    with opened(quiet=as_json) as ctx, reading(ctx.engine) as session:
        seen = logins.last_seen(session)
        rows = [
            {
                "name": annotator.name,
                "kind": annotator.kind,
                "role": annotator.role,
                "login": _login(annotator),
                "state": _state(annotator),
                "last_seen": f"{seen[annotator.id]:%Y-%m-%d %H:%M}Z" if annotator.id in seen else None,
            }
            for annotator in annotators.list_annotators(session)
        ]
    if as_json:
        print_json(rows)
    else:
        report.print_rows(console, rows)


@users_app.command("disable")
def users_disable(name: str) -> None:
    """Let somebody label no more, and log them out. What they said counts on."""
    with opened() as ctx, writing(ctx.engine) as session:
        annotators.disable(session, _id(session, name), ctx.actor)
    _say(f"{name} is disabled and logged out")


@users_app.command("enable")
def users_enable(name: str) -> None:
    """Let somebody who was disabled label again."""
    with opened() as ctx, writing(ctx.engine) as session:
        annotators.usable(annotators.enable(session, _id(session, name), ctx.actor))
    _say(f"{name} is enabled")


@users_app.command("role")
def users_role(name: str, role: Annotated[str, typer.Argument(help=f"One of {ROLES}.")]) -> None:
    """Give somebody a role."""
    known = _role(role)
    with opened() as ctx, writing(ctx.engine) as session:
        annotators.set_role(session, _id(session, name), known, ctx.actor)
    _say(f"{name} is {known}")


@users_app.command("password")
def users_password(name: str, password_stdin: Stdin = False) -> None:
    """Give somebody a new password, which logs them out everywhere. A made one is shown once."""
    password = _password(password_stdin)
    with opened() as ctx, writing(ctx.engine) as session:
        logins.set_password(session, _id(session, name), password, ctx.actor)
    _say(f"{name} has a new password and is logged out everywhere")
    _show(password, password_stdin)


@users_app.command("logout")
def users_logout(name: str) -> None:
    """Log somebody out everywhere."""
    with opened() as ctx, writing(ctx.engine) as session:
        logins.revoke_all(session, _id(session, name), ctx.actor)
    _say(f"{name} is logged out everywhere")


@users_app.command("withdraw")
def users_withdraw(
    name: str, yes: Annotated[bool, typer.Option("--yes", help="Do not ask: it cannot be undone.")] = False
) -> None:
    """Take back all that somebody said. What was made or trained from it becomes stale."""
    with opened() as ctx:
        with reading(ctx.engine) as session:
            annotator_id = _id(session, name)
        if not yes:
            typer.confirm(f"Take back every judgment of {name}? It cannot be undone.", abort=True)
        with writing(ctx.engine) as session:
            withdrawal = annotators.withdraw(session, annotator_id, ctx.actor)
    stale = f"{len(withdrawal.snapshot_ids)} snapshots and {len(withdrawal.version_ids)} versions became stale"
    _say(f"{name} has withdrawn and is logged out; {stale}")


def _id(session: Session, name: str) -> int:
    return annotators.by_name(session, name).id


def _role(text: str) -> AnnotatorRole:
    known: AnnotatorRole | None = next((role for role in get_args(AnnotatorRole) if role == text), None)
    if known is None:
        raise PrefloopError(f"role {text!r}: use one of {ROLES}")
    return known


def _password(from_stdin: bool) -> str:
    if not from_stdin:
        return logins.new_password()
    try:
        return sys.stdin.buffer.readline().decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise PrefloopError("the password on stdin is no UTF-8 text; send it in that encoding") from None


def _show(password: str, is_known: bool) -> None:
    if not is_known:
        _say(f"password, shown only this once: {password}")


def _say(text: str) -> None:
    console.print(escape(text), highlight=False, soft_wrap=True)


def _login(annotator: Annotator) -> str | None:
    ways = {"password": annotator.password_hash, "provider": annotator.oidc_subject}
    return " and ".join(way for way, held in ways.items() if held) or None


def _state(annotator: Annotator) -> str:
    return "withdrawn" if annotator.withdrawn_at else "disabled" if annotator.disabled_at else "active"
