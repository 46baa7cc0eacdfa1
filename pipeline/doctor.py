"""What is missing or unsafe on this machine and in this workspace, and how to mend it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Literal

import psutil

from db.engine import head as newest_revision
from db.engine import open_engine, sqlite_facts
from db.engine import revision as store_revision

from . import embedded_model, notify
from .workspace import Workspace

Level = Literal["ok", "warning", "problem"]
GIB = 2**30


@dataclass(frozen=True)
class Finding:
    level: Level
    subject: str
    found: str
    remedy: str = ""


def examine(workspace: Workspace) -> list[Finding]:
    """All findings, the good ones included. Loads no model and changes nothing."""
    return [
        _store(workspace),
        *_sqlite(workspace),
        _disk(workspace),
        _memory(),
        _precision(),
        _model(workspace),
        *_notifications(workspace),
    ]


def _store(workspace: Workspace) -> Finding:
    engine = open_engine(workspace.store_url)
    shown = engine.url.render_as_string(hide_password=True)
    try:
        found = store_revision(engine)
    except Exception as error:
        reason = str(error).splitlines()[0]
        return Finding("problem", "store", f"{shown} does not answer ({reason})", "start it, or correct store_url")
    finally:
        engine.dispose()
    if found != newest_revision():
        return Finding(
            "problem", "store", f"{shown} is at revision {found}", "run `prefloop init` to bring it up to date"
        )
    return Finding("ok", "store", f"{shown}, revision {found}")


def _sqlite(workspace: Workspace) -> list[Finding]:
    engine = open_engine(workspace.store_url)
    try:
        facts = sqlite_facts(engine)
    finally:
        engine.dispose()
    if facts is None:
        return []
    text = f"SQLite {'.'.join(map(str, facts.version))} ({facts.module}), journal {facts.journal_mode.upper()}"
    if facts.journal_mode.upper() == "WAL":
        return [Finding("ok", "sqlite", text)]
    return [
        Finding(
            "warning",
            "sqlite",
            f"{text}: this version can lose committed rows in WAL mode, so the slower rollback journal is used",
            "install SQLite 3.51.3 or newer, for instance with `pip install pysqlite3`",
        )
    ]


def _disk(workspace: Workspace) -> Finding:
    free = shutil.disk_usage(workspace.root).free / GIB
    if free < 1:
        return Finding("problem", "disk", f"{free:.1f} GiB free", "free some space: a run would fail half-way")
    if free < 5:
        return Finding("warning", "disk", f"{free:.1f} GiB free", "5 GiB or more lets many versions be kept")
    return Finding("ok", "disk", f"{free:.0f} GiB free")


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    text = f"{memory.available / GIB:.0f} of {memory.total / GIB:.0f} GiB available"
    if memory.available < 12 * GIB:
        remedy = "training the embedded model took up to 11 GiB; close other programs, or lower batch_size"
        return Finding("warning", "memory", text, remedy)
    return Finding("ok", "memory", text)


def _precision() -> Finding:
    try:
        import torch

        from .language_model import best_device, has_fast_bf16
    except ModuleNotFoundError:
        return Finding("warning", "torch", "not installed", "a labeling server needs none; to train, run `make setup`")
    device = best_device()
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    if has_fast_bf16(device):
        return Finding("ok", "precision", f"bfloat16 ({where})")
    return Finding("warning", "precision", f"no bfloat16 in hardware ({where})", "float32 is used, which is slower")


def _model(workspace: Workspace) -> Finding:
    configured = workspace.settings.model.base
    if configured != "embedded":
        return Finding("ok", "model", f"{configured} (from prefloop.toml)")
    if (workspace.cache / embedded_model.NAME / embedded_model.MANIFEST).is_file():
        return Finding("ok", "model", f"{embedded_model.NAME}, converted and ready")
    return Finding(
        "warning", "model", f"{embedded_model.NAME} is not fetched yet", "it is on first use, with a network (93 MB)"
    )


def _notifications(workspace: Workspace) -> list[Finding]:
    if not notify.wanted(workspace.settings.notify).receivers:
        return []
    if problem := notify.problem(workspace.settings):
        return [Finding("problem", "notify", problem, "see docs/housekeeping.md, and try it: `prefloop notify test`")]
    return [Finding("ok", "notify", "configured; `prefloop notify test` tries it")]
