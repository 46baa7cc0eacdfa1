"""`prefloop verify`: walk the store and the artifacts and report every broken promise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from db import judgments, prompts, snapshots, versions
from db.engine import reading, sqlite_integrity
from db.hashing import canonical_json, sha256_text

from . import embedded_model, garbage
from .checkpoints import ADAPTER_FILE, file_sha256
from .context import Context
from .pairs import RowPolicy
from .snapshot import build_rows


@dataclass(frozen=True)
class Damage:
    kind: str  # store, prompt, snapshot, leakage, adapter, orphan, model
    subject: str
    problem: str


def verify(ctx: Context) -> list[Damage]:
    """All damage found; empty when every promise holds. Changes nothing."""
    return [
        *(Damage("store", "sqlite", problem) for problem in sqlite_integrity(ctx.engine)),
        *_prompts(ctx),
        *_snapshots(ctx),
        *_adapters(ctx),
        *_orphans(ctx),
        *_model_cache(ctx),
    ]


def _prompts(ctx: Context) -> Iterator[Damage]:
    with reading(ctx.engine) as session:
        rows = prompts.list_prompts(session, include_retired=True)
    for row in rows:
        if sha256_text(canonical_json(row.messages)) != row.sha256:
            yield Damage("prompt", f"prompt {row.id}", "its messages do not have its sha256: they were changed")


def _snapshots(ctx: Context) -> Iterator[Damage]:
    """Every snapshot rebuilds to its hash, and none was made of a prompt that is held out."""
    with reading(ctx.engine) as session:
        for snapshot in snapshots.list_snapshots(session):
            name = f"snapshot {snapshot.id}"
            rows = judgments.by_ids(session, snapshots.judgment_ids(session, snapshot.id))
            rebuilt = build_rows(rows, RowPolicy.from_dict(snapshot.policy))
            if rebuilt.sha256 != snapshot.sha256:
                yield Damage("snapshot", name, f"rebuilds to {rebuilt.sha256[:12]}, not to {snapshot.sha256[:12]}")
            heldout = {row.prompt_id for row in rows if row.split == "heldout"}
            # A held-out prompt may be judged (evaluation), but a row of it must never have been trained on.
            if heldout and snapshot.counts.get("heldout", 0) < sum(row.split == "heldout" for row in rows):
                yield Damage("leakage", name, f"trained on held-out prompts {sorted(heldout)}")


def _adapters(ctx: Context) -> Iterator[Damage]:
    with reading(ctx.engine) as session:
        rows = versions.list_versions(session)
    for version in rows:
        if version.adapter_path is None or version.adapter_removed_at is not None:
            continue
        path = ctx.workspace.artifacts / version.adapter_path / ADAPTER_FILE
        if not path.is_file():
            yield Damage("adapter", f"version {version.name}", f"{version.adapter_path}/{ADAPTER_FILE} is missing")
        elif file_sha256(path) != version.adapter_sha256:
            yield Damage("adapter", f"version {version.name}", "its weights do not have the recorded sha256")


def _orphans(ctx: Context) -> Iterator[Damage]:
    for path, why in garbage.orphans(ctx):
        yield Damage("orphan", path, f"{why}; `prefloop gc` removes it")


def _model_cache(ctx: Context) -> Iterator[Damage]:
    folder = ctx.workspace.cache / embedded_model.NAME
    manifest = folder / embedded_model.MANIFEST
    if not manifest.is_file():
        return
    for name, sha256 in json.loads(manifest.read_text())["files"].items():
        path = folder / name
        if not path.is_file() or file_sha256(path) != sha256:
            yield Damage("model", name, f"missing or changed; delete {folder} and it is fetched again")
