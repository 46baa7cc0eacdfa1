"""A run with its record: config, seed, code version, snapshot, metrics as they come, result or error.

with recorded(ctx, "dpo", config, seed, ...) as run:
    ...                     # raises: the run is stored as failed, with the error, and leaves no version
    run.finish(summary, ...)
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from db import runs
from db.engine import reading, writing
from db.hashing import canonical_json, sha256_text
from db.tables import Round, Run, Snapshot, Version

from . import checkpoints
from .context import Context, code_version
from .progress import WRITE
from .stopping import on_sigterm, stop_at_once


@dataclass
class RecordedRun:
    ctx: Context
    id: int
    folder: Path
    finished: bool = False
    _held: list[tuple[str, int, float]] = field(default_factory=list, repr=False)
    _written: float = field(default=float("-inf"), repr=False)

    def add_metrics(self, rows: Sequence[tuple[str, int, float]]) -> None:
        """Into the store now and then, and at the end: a step of a small model is shorter than a transaction."""
        self._held += rows
        if time.monotonic() - self._written >= WRITE:
            with writing(self.ctx.engine) as session:
                runs.add_metrics(session, self.id, self._held)
            self._held, self._written = [], time.monotonic()

    def finish(
        self,
        session: Session,
        summary: dict[str, Any],
        tokens: int | None = None,
        peak_memory_bytes: int | None = None,
    ) -> None:
        """Mark it finished, in the caller's transaction: result and mark appear together or not at all."""
        runs.add_metrics(session, self.id, self._held)
        runs.finish(session, self.id, summary, tokens, peak_memory_bytes)
        self.finished = True

    def fail(self, error: BaseException) -> None:
        with writing(self.ctx.engine) as session:
            runs.add_metrics(session, self.id, self._held)
            runs.fail(session, self.id, f"{type(error).__name__}: {error}".rstrip(": "))


def fingerprint(stage: str, config: dict[str, Any], seed: int, *hashes: str | None) -> str:
    """sha256 of all that decides a run's result: equal fingerprints need not be worked out twice."""
    return sha256_text(canonical_json([stage, config, seed, list(hashes)]))


def finished_run(ctx: Context, fingerprint_: str) -> Run | None:
    with reading(ctx.engine) as session:
        return runs.finished_with(session, fingerprint_)


@contextmanager
def recorded(
    ctx: Context,
    stage: str,
    config: dict[str, Any],
    seed: int,
    fingerprint_: str,
    snapshot: Snapshot | None = None,
    version: Version | None = None,
    round_: Round | None = None,
) -> Iterator[RecordedRun]:
    """Start a run and see that it ends: finished by the block, or failed with the block's error (SIGTERM is one).

    Checkpoints that a dead or failed run of the same work left are moved into this run's folder: it goes on from them.
    """
    bury_the_dead(ctx)
    with writing(ctx.engine) as session:
        row = runs.start(
            session,
            stage,
            config,
            seed,
            code_version(),
            fingerprint_,
            snapshot_id=snapshot.id if snapshot else None,
            version_id=version.id if version else None,
            round_id=round_.id if round_ else None,
            lease_owner=_owner(),
            recipe_run_id=ctx.recipe_run_id,
        )
        runs.set_folder(session, row.id, f"runs/{row.id}")
    folder = ctx.workspace.artifacts / "runs" / str(row.id)
    run = RecordedRun(ctx, row.id, folder)
    outer, ctx.run_id = ctx.run_id, row.id
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"stage": stage, "seed": seed, **config}, indent=2, default=str))
        with on_sigterm(stop_at_once):
            _take_over(ctx, row)
            yield run
        assert run.finished, f"the {stage} step ended without a result"
    except BaseException as error:
        if not run.finished:
            (folder / "error.txt").write_text(traceback.format_exc())
            run.fail(error)
        raise
    finally:
        ctx.run_id = outer


def _take_over(ctx: Context, run: Run) -> None:
    """Go on from the checkpoints of runs of the same work that ended early; what else they left is of no use."""
    with reading(ctx.engine) as session:
        before = runs.given_up(session, run.fingerprint, run.code_version)
    for old in before:
        for adapter in (ctx.workspace.artifacts / str(old.folder)).glob("adapter*"):
            if not adapter.name.endswith(checkpoints.SUFFIX):
                shutil.rmtree(adapter)  # killed before the version was stored, it made one that no version names
    for old in before:
        for root in sorted((ctx.workspace.artifacts / str(old.folder)).glob("*" + checkpoints.SUFFIX)):
            newest = checkpoints.newest_verified(root)
            if newest is not None:
                try:
                    root.rename(ctx.workspace.artifacts / f"runs/{run.id}" / root.name)
                except FileNotFoundError:  # `prefloop gc` was first
                    continue
                ctx.say(f"goes on from step {checkpoints.step_of(newest)} of run {old.id}, which ended early")
                return


def bury_the_dead(ctx: Context) -> None:
    """Mark runs of this machine as failed whose process is gone without a word (killed, out of memory, power cut)."""
    host = socket.gethostname()
    with reading(ctx.engine) as session:
        dead = [
            run.id
            for run in runs.list_runs(session, state="running", limit=1000)
            if run.lease_expires_at is None  # else a worker holds it, and another takes it over
            and run.lease_owner
            and run.lease_owner.startswith(f"{host}:")
            and not _alive(run.lease_owner)
        ]
    for run_id in dead:
        with writing(ctx.engine) as session:
            runs.fail(
                session, run_id, "its process ended without a word: killed, out of memory, or the machine stopped"
            )


def _owner() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _alive(owner: str) -> bool:
    try:
        os.kill(int(owner.rsplit(":", 1)[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's process
    return True
