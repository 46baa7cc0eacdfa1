"""Telling people: what the outbox owes (db.notifications) goes to a webhook and to a command.

It is delivered by a process of its own, which a worker starts and does not wait for: no receiver, however slow, holds
up a run. Each attempt is claimed in the store first. One that fails is made again after a pause, doubled each time,
until `notify.attempts` are used up.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from rich.markup import escape
from sqlalchemy.exc import OperationalError

from db import clock, notifications
from db.engine import reading, writing
from db.notifications import Wanted
from db.tables import Notification
from db.words import Receiver

from . import webhook
from .config import Settings
from .context import Context
from .errors import PrefloopError
from .redact import redactor
from .sections import NotifySection
from .webhook import Undelivered

BUDGET = 60.0  # seconds after which a pass begins no further attempt
MARGIN = 30.0  # seconds that an attempt may take beyond its timeout: for resolving a name, and for the store
LONGEST_PAUSE = 3600.0  # seconds
OUTPUT = 10_000  # bytes of what a command writes that are kept

Redact = Callable[[str], str]


def wanted(section: NotifySection) -> Wanted:
    receivers: dict[Receiver, object] = {"webhook": section.url, "command": section.command}
    return Wanted(tuple(name for name, configured in receivers.items() if configured), section.events)


def deliver(ctx: Context) -> int:
    """Deliver what is due, for `BUDGET` seconds at most; how many attempts that were."""
    section = ctx.workspace.settings.notify
    redact = redactor(ctx.workspace.settings)
    attempts, until = 0, time.monotonic() + BUDGET
    while time.monotonic() < until:
        with writing(ctx.engine) as session:
            row = notifications.claim(session, wanted(section), section.timeout_seconds + MARGIN, section.attempts)
        if row is None:
            break
        attempts += 1
        _attempt(ctx, section, row, redact)
    return attempts


def trial(ctx: Context) -> list[tuple[Receiver, str]]:
    """Send an event of type "test" to every receiver at once; what came back. Raises PrefloopError if one fails."""
    settings = ctx.workspace.settings
    receivers = wanted(settings.notify).receivers
    if not receivers:
        raise PrefloopError("nobody is notified; set url or command in section [notify] of prefloop.toml")
    key, redact, came, failed = uuid.uuid4().hex, redactor(settings), [], []
    event = {
        "version": notifications.FORMAT,
        "id": key,
        "type": "test",
        "timestamp": f"{clock.now():%Y-%m-%dT%H:%M:%SZ}",
        "text": f"a trial of prefloop's notifications, asked for by {ctx.actor}",
        "data": {},
    }
    for receiver in receivers:
        try:
            came.append((receiver, redact(_send(ctx, receiver, key, event, redact))))
        except Undelivered as error:
            failed.append(f"{receiver}: {redact(str(error))}")
    if failed:
        arrived = "".join(f"; {receiver} is well" for receiver, _ in came)
        raise PrefloopError("; ".join(failed) + arrived)
    return came


@dataclass
class Courier:
    """Has what is due delivered by a process of its own. Nothing that goes wrong with that comes out of here."""

    ctx: Context
    _at_work: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _since: float = 0.0

    def look(self) -> None:
        """Start the process if something is due and it is not at work; end one that hangs."""
        try:
            if self._is_at_work():
                return
            asked = wanted(self.ctx.workspace.settings.notify)
            if not asked.receivers:
                return
            with reading(self.ctx.engine) as session:
                if not notifications.is_due(session, asked):
                    return
            self._start()
        except (OSError, OperationalError) as error:
            self.ctx.say(f"nobody could be notified just now ({type(error).__name__}); it is tried again")

    def finish(self) -> None:
        """Look once more, and wait for the process: for whoever ends now."""
        self.look()
        while self._is_at_work():
            time.sleep(0.05)

    def _start(self) -> None:
        checkout = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, [checkout, os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-P", "-m", "pipeline", "-w", str(self.ctx.workspace.root), "notify", "deliver"]
        self._since = time.monotonic()
        self._at_work = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the worker alone, and a signal to the group reaches all of it
            env={**os.environ, "PYTHONPATH": path},
        )

    def _is_at_work(self) -> bool:
        """Whether it is; one that ought to have ended long ago is killed (what it had claimed is tried again)."""
        if self._at_work is None or self._at_work.poll() is not None:
            return False
        longest = BUDGET + self.ctx.workspace.settings.notify.timeout_seconds + MARGIN
        if time.monotonic() - self._since > longest:
            _kill(self._at_work)
        return True


def _attempt(ctx: Context, section: NotifySection, row: Notification, redact: Redact) -> None:
    try:
        _send(ctx, row.receiver, row.key, row.payload, redact)
    except Undelivered as error:
        why = redact(str(error))
        last = row.attempts >= section.attempts
        pause = None if last else min(section.backoff_seconds * 2 ** (row.attempts - 1), LONGEST_PAUSE)
        with writing(ctx.engine) as session:
            notifications.failed(session, row.id, row.attempts, why, pause)
        then = "given up" if pause is None else f"tried again in {pause:g} seconds"
        attempt = f"attempt {row.attempts} of {section.attempts}"
        ctx.say(escape(f"{row.subject}: {row.receiver}, {attempt}: {why}; {then}"))
    else:
        with writing(ctx.engine) as session:
            notifications.delivered(session, row.id)
        ctx.say(f"{row.subject}: {row.receiver} was told")


def _send(ctx: Context, receiver: Receiver, key: str, event: dict[str, Any], redact: Redact) -> str:
    """What came back. Raises Undelivered."""
    section = ctx.workspace.settings.notify
    body = redact(json.dumps(event, ensure_ascii=False)).encode()
    if receiver == "webhook":
        answer = webhook.post(section, body, key, clock.now())
        return f"status {answer.status}" + (f": {answer.body}" if answer.body else "")
    status, written = run_command(section, body)
    if written:
        ctx.say(escape(redact(written)))  # into the log of whoever started this
    if status is None:
        raise Undelivered(f"the command did not end within {section.timeout_seconds:g} seconds, and was killed")
    if status != 0:
        raise Undelivered(f"the command ended with exit status {status}")
    return "exit status 0"


def run_command(section: NotifySection, event: bytes) -> tuple[int | None, str]:
    """Run `notify.command` with the event on stdin: (exit status, what it wrote); None if it did not end in time.

    Without a shell. What it has started ends with it. Raises Undelivered if it cannot be started.
    """
    hidden = section.secret_variable  # of the webhook, and none of its business
    try:
        child = subprocess.Popen(
            section.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if name != hidden},
        )
    except OSError as error:
        raise Undelivered(f"notify.command {section.command[0]} cannot be started: {error.strerror}") from None
    assert child.stdin is not None and child.stdout is not None, "both are pipes"
    written = bytearray()
    reader = Thread(target=_keep, args=(child.stdout, written), daemon=True)
    reader.start()
    Thread(target=_write, args=(child.stdin, event), daemon=True).start()  # one that reads nothing would block it
    try:
        status: int | None = child.wait(section.timeout_seconds)
    except subprocess.TimeoutExpired:
        status = None
    _kill(child)
    reader.join(1)
    return status, written.decode("utf-8", "replace").strip()


def _keep(source: Any, into: bytearray) -> None:
    """Read to the end, and keep the beginning."""
    while block := source.read1(65536):
        into.extend(block[: max(0, OUTPUT - len(into))])


def _write(stdin: Any, event: bytes) -> None:
    with suppress(OSError):  # it has ended, or closed its stdin
        stdin.write(event)
        stdin.close()


def _kill(child: subprocess.Popen[bytes]) -> None:
    """It and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def standing(ctx: Context) -> dict[str, int]:
    """How many notifications of the last weeks stand how; empty where nobody is notified."""
    asked = wanted(ctx.workspace.settings.notify)
    with reading(ctx.engine) as session:
        return {str(state): count for state, count in notifications.counts(session, asked).items()}


def problem(settings: Settings) -> str:
    """What keeps the webhook from being used, as far as the settings tell; empty if nothing does."""
    if not settings.notify.url:
        return ""
    try:
        webhook.checked(settings.notify)
        webhook.signing_key(settings.notify)
    except Undelivered as error:
        return str(error)
    return ""
