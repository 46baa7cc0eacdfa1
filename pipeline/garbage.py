"""What lies in a workspace and is needed by nothing any more, and its removal.

What goes is first moved into `artifacts/trash` by one rename, and deleted there: nobody ever finds half of it, whoever
comes first has it, and what a crash leaves there goes the next time. An adapter is marked as removed in the store
before; one that a process has in use (`Context.adapter`) is locked, and stays.

Disk first, store second: a folder is made after its row, so one without a row is nobody's.
"""

from __future__ import annotations

import fcntl
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Literal

from filelock import FileLock, Timeout

from db import adapters, clock, run_queue, versions
from db.engine import reading, writing
from db.runs import list_runs
from db.tables import Run, Version

from . import checkpoints, embedded_model
from .context import Context
from .sections import RetentionSection

ADAPTER, PARTIAL = "adapter", "adapter.partial"  # as stages name them, in the folder of their run
Kind = Literal["orphan", "checkpoint", "adapter", "log", "cache"]


@dataclass(frozen=True)
class Garbage:
    kind: Kind
    path: str  # relative to the workspace
    why: str
    bytes: int
    version_id: int | None = None  # of an adapter


@dataclass(frozen=True)
class _Found:
    """The folders of runs, and the store as it was read after them."""

    folders: list[Path]
    runs: dict[str, Run]  # by folder, relative to the artifacts
    finished: dict[str, int]  # the run, by fingerprint
    under_way: set[int]  # ids of runs
    versions: list[Version]


def survey(ctx: Context) -> list[Garbage]:
    """All that may go by the rules of `[retention]`. Changes nothing."""
    section = ctx.workspace.settings.retention
    found = _look(ctx)
    return [
        *_left_over(ctx),
        *(_of(ctx, "orphan", path, why) for path, why in _orphans(found)),
        *_checkpoints(ctx, found, section.checkpoints),
        *_adapters(ctx, found, section),
        *_logs(ctx, found, section),
    ]


def collect(ctx: Context, found: Sequence[Garbage]) -> list[Garbage]:
    """Remove it; what is really gone by that. What is needed by now, in use, or gone already is passed over."""
    gone = _remove_adapters(ctx, [each for each in found if each.kind == "adapter"])
    for each in found:
        path = ctx.workspace.root / each.path
        if each.kind == "cache":
            shutil.rmtree(path, ignore_errors=True)
            gone.append(each)
        elif each.kind != "adapter" and _throw_away(ctx, path):
            gone.append(each)
    return gone


def orphans(ctx: Context) -> Iterator[tuple[str, str]]:
    """(path, why) of what belongs to nothing that the store knows, relative to the artifacts."""
    for path, why in _orphans(_look(ctx)):
        yield path.relative_to(ctx.workspace.artifacts).as_posix(), why


def _look(ctx: Context) -> _Found:
    runs = ctx.workspace.artifacts / "runs"
    folders = sorted(runs.iterdir()) if runs.is_dir() else []
    with reading(ctx.engine) as session:
        known = list_runs(session, limit=1_000_000)
        return _Found(
            folders,
            {str(run.folder): run for run in known},
            {run.fingerprint: run.id for run in known if run.state == "finished"},
            {run.id for run in known if run.state in adapters.UNDER_WAY},
            versions.list_versions(session),
        )


def _orphans(found: _Found) -> Iterator[tuple[Path, str]]:
    by_path = {version.adapter_path: version for version in found.versions}
    in_use = {path for path, version in by_path.items() if path is not None and version.adapter_removed_at is None}
    for folder in found.folders:
        run = found.runs.get(f"runs/{folder.name}")
        if run is None:
            if not any(Path(path).is_relative_to(f"runs/{folder.name}") for path in in_use):
                yield folder, "belongs to no run"
        elif run.state not in adapters.UNDER_WAY:
            path = f"runs/{folder.name}/{ADAPTER}"
            if (folder / ADAPTER).exists() and path not in in_use:
                yield folder / ADAPTER, "is marked as removed" if path in by_path else "belongs to no version"
            if (folder / PARTIAL).exists():
                yield folder / PARTIAL, "half-written by a run that is over"
            for left in folder.glob("*" + checkpoints.SUFFIX) if run.state == "finished" else ():
                yield left, "its run has finished"


def _left_over(ctx: Context) -> Iterator[Garbage]:
    """Of work that was interrupted."""
    for path in _trash(ctx).glob("*"):
        yield _of(ctx, "orphan", path, "thrown away, and not deleted yet")
    if interrupted := list(ctx.workspace.cache.glob("fetching-*")):
        with suppress(Timeout), FileLock(ctx.workspace.cache / f"{embedded_model.NAME}.lock", timeout=0):
            for path in interrupted:
                yield _of(ctx, "cache", path, "a download that was interrupted")


def _checkpoints(ctx: Context, found: _Found, keep: int) -> Iterator[Garbage]:
    """Of runs that ended without a result: all but the newest that can be trusted, or all if the work is done."""
    for folder in found.folders:
        run = found.runs.get(f"runs/{folder.name}")
        if run is None or run.state not in ("failed", "cancelled"):
            continue
        finished, least = found.finished.get(run.fingerprint), keep
        if run.recipe_run_id in found.under_way:
            least = max(1, keep)  # a worker is about to go on from there
        for root in folder.glob("*" + checkpoints.SUFFIX):
            if finished is not None:
                yield _of(ctx, "checkpoint", root, f"run {finished} has finished the same work")
                continue
            kept = 0
            for each in checkpoints.by_step(root):
                if kept < least and checkpoints.verified(each):
                    kept += 1
                else:
                    yield _of(ctx, "checkpoint", each, f"run {run.id} {run.state}, and {kept} newer stay")


def _adapters(ctx: Context, found: _Found, section: RetentionSection) -> Iterator[Garbage]:
    if section.adapters == "all":
        return
    with reading(ctx.engine) as session:
        needed = adapters.kept(session, section.adapters)
    for version in found.versions:
        if version.adapter_path is None or version.adapter_removed_at is not None or version.id in needed:
            continue
        path = ctx.workspace.artifacts / version.adapter_path
        why = f"{version.name} was never promoted, and {section.adapters} newer stay"
        yield Garbage("adapter", _relative(ctx, path), why, _size(path), version.id)


def _logs(ctx: Context, found: _Found, section: RetentionSection) -> Iterator[Garbage]:
    if section.log_days == "all":
        return
    before = clock.now() - timedelta(days=section.log_days)
    for folder in found.folders:
        run = found.runs.get(f"runs/{folder.name}")
        if run is not None and run.stage == run_queue.STAGE and run.finished_at and run.finished_at < before:
            for path in sorted(folder.glob("*.log")):
                yield _of(ctx, "log", path, f"run {run.id} ended {run.finished_at:%Y-%m-%d}")


def _remove_adapters(ctx: Context, found: Sequence[Garbage]) -> list[Garbage]:
    """Lock, mark, throw away. A lock that another process has means that it works with the adapter."""
    section = ctx.workspace.settings.retention
    if not found or section.adapters == "all":
        return []
    locked: dict[int, IO[bytes]] = {}
    try:
        for each in found:
            assert each.version_id is not None, "an adapter is a version's"
            if (file := _locked(ctx.workspace.root / each.path / checkpoints.ADAPTER_FILE)) is not None:
                locked[each.version_id] = file
            else:
                ctx.say(f"{each.path} is in use, and stays")
        with writing(ctx.engine) as session:
            marked = adapters.mark_removed(session, list(locked), section.adapters, ctx.actor)
        gone = [each for each in found if each.version_id in marked]
        return [each for each in gone if _throw_away(ctx, ctx.workspace.root / each.path)]
    finally:
        for file in locked.values():
            file.close()


def _locked(path: Path) -> IO[bytes] | None:
    """The open file, which nobody else has in use until it is closed; None if somebody has, or it is not there."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _throw_away(ctx: Context, path: Path) -> bool:
    """False when it is not there any more: another has taken it."""
    trash = _trash(ctx)
    if path.parent != trash:
        trash.mkdir(exist_ok=True)
        target = trash / uuid.uuid4().hex
        try:
            path.rename(target)
        except FileNotFoundError:
            return False
        path = target
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return True


def _trash(ctx: Context) -> Path:
    return ctx.workspace.artifacts / "trash"


def _of(ctx: Context, kind: Kind, path: Path, why: str) -> Garbage:
    return Garbage(kind, _relative(ctx, path), why, _size(path))


def _relative(ctx: Context, path: Path) -> str:
    return path.relative_to(ctx.workspace.root).as_posix()


def _size(path: Path) -> int:
    """Bytes of the file, or of all files in the folder; what goes meanwhile counts nothing."""
    total = 0
    for file in (path, *path.rglob("*")) if path.is_dir() else (path,):
        with suppress(FileNotFoundError):
            total += 0 if file.is_dir() else file.lstat().st_size
    return total
