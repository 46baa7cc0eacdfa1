"""A worker: takes one run at a time for its device and has the recipe's stages done, each in a process of its own.

What can happen to a run while a stage works, and what becomes of it:

    the stage ends            the next one; after the last the run is finished
    it refuses                failed: only a person can mend what an error of ours names
    it crashes, or hangs      queued again after a pause, at most `worker.attempts` times in all
    somebody cancels it       the stage is told to end, killed after STOP seconds; cancelled
    the worker is told to end the stage may save a checkpoint, is killed after GRACE seconds; queued again at once
    the worker is killed      the stage ends with it (`stopping.end_with`); another worker takes the run over when the
                              lease has run out
    the lease is lost         the stage is killed, and nothing is written: the run is another worker's

Every stage finds finished work again by its fingerprint and goes on from verified checkpoints, so a run that is taken
over begins where it was left. The heartbeat needs no thread: the worker does nothing but wait for the stage.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sqlalchemy.exc import OperationalError

from db import clock, run_queue
from db.engine import reading, writing
from db.run_queue import Heartbeat, Terms
from db.tables import Run

from . import garbage
from .context import Context, code_version
from .errors import PrefloopError
from .log_tail import clean, tail
from .notify import Courier
from .recipe import Stage, fit
from .redact import redactor

POLL = 0.5  # seconds between two looks at the stage, the store and the signals
TELL = 3.0  # seconds between two heartbeats, at least, while the stage writes: they carry the end of its log
IDLE = 2.0  # seconds between two looks for a run
SURVEY = 600.0  # seconds between two looks at what could be removed, while the disk is full
STOP = 3.0  # seconds that a cancelled stage has to end by itself
GRACE = 30.0  # seconds that a stage has to save a checkpoint when its worker is told to end
REFUSED = 3  # exit status of a stage whose error a person has to mend: no use to try it again

Ended = Literal["done", "refused", "crashed", "cancelled", "stopped", "lost"]


def default_device() -> str:
    """The first CUDA device if there seems to be one; torch stays out of the worker."""
    return "cuda:0" if shutil.which("nvidia-smi") else "cpu"


def stage_command(ctx: Context, run_id: int, stage: str) -> list[str]:
    return [sys.executable, "-P", "-m", "pipeline", "-w", str(ctx.workspace.root), "stage", str(run_id), stage]


@dataclass
class Worker:
    ctx: Context
    device: str = field(default_factory=default_device)  # its name on this machine: "cpu", "cuda:1"
    echo: bool = False  # say here what the stages write
    told_to_end: bool = False

    def __post_init__(self) -> None:
        settings = self.ctx.workspace.settings.worker
        self.backoff, self.min_free_gb = settings.backoff_seconds, settings.min_free_gb
        self.courier = Courier(self.ctx)
        self.removable, self.surveyed = 0.0, -math.inf  # gigabytes, and when they were counted
        self.terms = Terms(
            owner=f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}",
            device=f"{socket.gethostname()}:{self.device}",
            seconds=settings.lease_seconds,
            attempts=settings.attempts,
            code_version=code_version(),
            watts=settings.watts or None,
        )
        self.redact = redactor(self.ctx.workspace.settings)

    def work(self, once: bool = False, every_minute: Callable[[], object] | None = None) -> int:
        """Do runs until SIGTERM or SIGINT; how many were taken. `once` takes one if there is one, and returns."""
        taken, ticked, said = 0, -60.0, ""
        with self.until_told():
            while not self.told_to_end:
                if every_minute is not None and time.monotonic() - ticked >= 60:
                    ticked = time.monotonic()
                    every_minute()
                self.courier.look()
                full = self.too_full()
                if full and full != said:
                    self.ctx.say(full)
                said = full
                run = None if full else self.lease()
                if run is not None:
                    self.carry_out(run)
                    taken += 1
                    if self.ctx.workspace.settings.retention.after_run:
                        self.make_room()
                if once:
                    break
                self.rest(0 if run is not None else IDLE)
            if not self.told_to_end:
                self.courier.finish()
        return taken

    @contextmanager
    def until_told(self) -> Iterator[None]:
        """Within: SIGTERM and SIGINT do nothing but say that it is time to end."""

        def told(*_: Any) -> None:
            self.told_to_end = True

        before = {name: signal.signal(name, told) for name in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)

    def rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.told_to_end:
            time.sleep(POLL)

    def too_full(self) -> str:
        """Why no run is begun; empty when there is room."""
        free, floor = shutil.disk_usage(self.ctx.workspace.artifacts).free / 1e9, self.min_free_gb
        if free >= floor:
            return ""
        return (
            f"{free:.1f} GB are free in {self.ctx.workspace.artifacts}, and a run is begun with {floor:g} or more "
            f"(worker.min_free_gb); make room: `prefloop gc` would free {self.removable_gb():.1f} GB"
        )

    def removable_gb(self) -> float:
        """What `prefloop gc` would free, looked for now and then: it reads every checkpoint."""
        if time.monotonic() - self.surveyed >= SURVEY:
            self.removable = sum(each.bytes for each in garbage.survey(self.ctx)) / 1e9
            self.surveyed = time.monotonic()
        return self.removable

    def make_room(self) -> None:
        """What `[retention]` asks for. The run is over, and nothing that goes wrong here is about it."""
        try:
            gone = garbage.collect(self.ctx, garbage.survey(self.ctx))
        except (OSError, OperationalError) as error:
            self.ctx.say(f"no room could be made: {error}")
            return
        if gone:
            self.ctx.say(f"made room: {sum(each.bytes for each in gone) / 1e9:.1f} GB")

    def lease(self, only: int | None = None) -> Run | None:
        with writing(self.ctx.engine) as session:
            return run_queue.lease(session, self.terms, only)

    def carry_out(self, run: Run) -> Ended:
        """Do the stages of a leased run that are not done yet, and say in the store how it went."""
        self.ctx.say(f"run {run.id}, attempt {run.attempt}: {run.config.get('reason', '')}")
        folder = self.ctx.workspace.artifacts / str(run.folder)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            recipe = fit(run.config["recipe"])
        except PrefloopError as error:
            self.settle(run, "refused", str(error))
            return "refused"
        for number, stage in enumerate(recipe.stages, start=1):
            if stage.stage in (run.summary or {}):
                continue
            if (stopped := self.ended_before_a_stage(run)) is not None:
                self.settle(run, stopped, f"ended before {stage.stage}")
                return stopped
            log = folder / f"{number:02}-{stage.stage}.log"
            ended, why = self.do_stage(run, stage, log)
            self.heartbeat(run, due=True, stage=stage.stage, log=log)  # the rest of its time and its last words
            self.ctx.say(f"run {run.id}: {stage.stage} {ended}")
            if ended != "done":
                self.settle(run, ended, f"{stage.stage}: {why}")
                return ended
        self.settle(run, "done", "")
        return "done"

    def ended_before_a_stage(self, run: Run) -> Ended | None:
        """Why the next stage is not begun, if it is not. The lease moves on: many short stages outlast one, too."""
        match self.heartbeat(run, due=True):
            case "lost":
                return "lost"
            case "cancel":
                return "cancelled"
            case "go on":
                return "stopped" if self.told_to_end else None

    def do_stage(self, run: Run, stage: Stage, log: Path) -> tuple[Ended, str]:
        """How the stage's process ended, and the error if it did not do its work."""
        with log.open("ab") as out:
            out.write(f"--- attempt {run.attempt}, {clock.now():%Y-%m-%d %H:%M:%S} UTC, {self.terms.owner}\n".encode())
            out.flush()
            begun = out.tell()
            child = subprocess.Popen(
                stage_command(self.ctx, run.id, stage.stage),
                stdin=subprocess.PIPE,  # held open as long as this process lives
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # signals reach all that it starts, and Ctrl-C the worker alone
                env=self.environment(),
            )
        try:
            ended, error = self.attend(run, stage, child, log)
        finally:
            end(child, 0)
        return ended, error or self.redact(clean(last_words(log, begun)))

    def attend(self, run: Run, stage: Stage, child: subprocess.Popen[bytes], log: Path) -> tuple[Ended, str]:
        """Wait for the stage; keep the lease, and look out for all else that may end it."""
        timeout = 60 * stage.timeout_minutes
        started = beat = time.monotonic()
        told = 0  # bytes of the log, at the last heartbeat
        shown = log.stat().st_size
        while True:
            try:
                status = child.wait(POLL)
            except subprocess.TimeoutExpired:
                status = None
            if self.echo:
                shown = self.show(log, shown)
            if status is not None:
                by = f"killed by {signal.Signals(-status).name}" if status < 0 else ""
                return ("done" if status == 0 else "refused" if status == REFUSED else "crashed"), by
            if self.told_to_end:
                end(child, GRACE)
                return "stopped", "the worker was told to end"
            now = time.monotonic()
            written = log.stat().st_size
            due = now - beat >= (self.terms.seconds / 4 if written == told else min(TELL, self.terms.seconds / 4))
            said = self.heartbeat(run, due, now - beat, stage.stage, log)
            if due and said == "go on":
                beat, told = now, written
            if due:
                self.courier.look()
            if said == "lost":
                return "lost", "the lease is another worker's"
            if said == "cancel":
                end(child, STOP)
                return "cancelled", "somebody cancelled it"
            if now - started > timeout:
                end(child, STOP)
                return "crashed", f"not done after {timeout / 60:g} minutes, its timeout"

    def show(self, log: Path, shown: int) -> int:
        """Print what the stage has written beyond these bytes; how many there are now."""
        with log.open("rb") as file:
            file.seek(shown)
            new = file.read()
        self.ctx.console.out(self.redact(clean(new.decode(errors="replace"))), end="", highlight=False)
        return shown + len(new)

    def heartbeat(
        self, run: Run, due: bool, silent_for: float = 0, stage: str | None = None, log: Path | None = None
    ) -> Heartbeat:
        """What the store says of the lease. One that cannot be asked is believed in until it has run out.

        One that is due tells the store which stage has been at work, and how its log ends.
        """
        owner = self.terms.owner
        try:
            if due:
                written = self.redact(tail(log)) if log is not None else None
                with writing(self.ctx.engine) as session:
                    return run_queue.heartbeat(session, run.id, owner, self.terms.seconds, stage, written)
            with reading(self.ctx.engine) as session:
                return run_queue.standing(session, run.id, owner)
        except OperationalError as error:
            self.ctx.say(f"the store does not answer ({error.orig}); run {run.id} goes on while its lease lasts")
            return "go on" if silent_for < self.terms.seconds else "lost"

    def settle(self, run: Run, ended: Ended, error: str) -> None:
        """Write down how the run ended, or hand it on, unless it is another worker's by now."""
        owner = self.terms.owner
        with writing(self.ctx.engine) as session:
            match ended:
                case "done":
                    kept = run_queue.finish(session, run.id, owner)
                case "cancelled":
                    kept = run_queue.cancelled(session, run.id, owner)
                case "stopped":
                    kept = run_queue.hand_back(session, run.id, owner)
                case "crashed" if run.attempt < self.terms.attempts:
                    pause = self.backoff * 2 ** (run.attempt - 1)
                    kept = run_queue.try_again(session, run.id, owner, pause)
                case "crashed" | "refused":
                    kept = run_queue.fail(session, run.id, owner, error)
                case "lost":
                    kept = False
            if kept:
                run_queue.end_stages(session, run.id, error or "its process ended without a word")

    def environment(self) -> dict[str, str]:
        """That of the stages: they see the one device that is leased, and run this code."""
        kind, _, index = self.device.partition(":")
        seen = {"cuda": {"CUDA_VISIBLE_DEVICES": index or "0"}, "cpu": {"CUDA_VISIBLE_DEVICES": ""}}.get(kind, {})
        checkout = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, [checkout, os.environ.get("PYTHONPATH")]))
        return {**os.environ, **seen, "PYTHONPATH": path}


def end(child: subprocess.Popen[bytes], grace: float) -> None:
    """Tell the process and all that it started to end, and kill what is left after so many seconds."""
    if child.poll() is None and grace:
        _signal(child, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(grace)
    _signal(child, signal.SIGKILL)
    child.wait()
    assert child.stdin is not None, "it was started with a pipe"
    child.stdin.close()


def _signal(child: subprocess.Popen[bytes], which: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # all are gone
        os.killpg(child.pid, which)


def last_words(log: Path, begun: int) -> str:
    """What a stage wrote last: from its error on, or else the last line."""
    text = log.read_bytes()[begun:].decode(errors="replace").strip()
    _, error, told = text.rpartition("Error: ")
    return told if error else text.rpartition("\n")[2] or "it ended without a word"
