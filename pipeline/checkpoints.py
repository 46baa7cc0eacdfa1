"""Checkpoint folders that can be trusted after a crash: `checkpoint-<step>` in the folder of a run.

A trainer writes a checkpoint in place, file by file, and resumes from one that lacks its optimizer or its random state
without a word. So a folder counts only when it is sealed: a manifest with size and sha256 of every file is written
last and renamed into place. A process killed in between, or a full disk, leaves a folder without a seal, and the
checkpoint before it is taken.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

SUFFIX = ".checkpoints"
MANIFEST = "manifest.json"
ADAPTER_FILE = "adapter_model.safetensors"  # as peft names it
_DRAFT = MANIFEST + ".partial"
_NAME = re.compile(r"checkpoint-(\d+)")


def root_of(out: Path) -> Path:
    """Where the stage that will leave its result in `out` keeps its checkpoints: beside it."""
    return out.with_name(out.name + SUFFIX)


def seal(folder: Path) -> None:
    """Vouch for what lies in `folder` now. All of it is on the disk before the seal is.

    Raises OSError where that fails, a full disk for one: the folder then has no seal.
    """
    (folder / MANIFEST).unlink(missing_ok=True)
    files = {
        name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)} for name, path in _contents(folder).items()
    }
    for path in _contents(folder).values():
        _sync(path)
    for inner in (path for path in folder.rglob("*") if path.is_dir()):
        _sync(inner)
    draft = folder / _DRAFT
    draft.write_text(json.dumps({"files": files}, indent=1, sort_keys=True))
    _sync(draft)
    draft.rename(folder / MANIFEST)
    _sync(folder)
    _sync(folder.parent)


def verified(folder: Path) -> bool:
    """Whether the folder is sealed and holds exactly the bytes that were sealed."""
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
        contents = _contents(folder)
        return files.keys() == contents.keys() and all(
            contents[name].stat().st_size == entry["bytes"] and file_sha256(contents[name]) == entry["sha256"]
            for name, entry in files.items()
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # gone, unreadable, or no manifest of ours
        return False


def step_of(folder: Path) -> int:
    """The step in the name of a checkpoint folder. ValueError for any other folder."""
    match = _NAME.fullmatch(folder.name)
    if match is None:
        raise ValueError(f"{folder.name} is not the name of a checkpoint; expected checkpoint-<step>")
    return int(match[1])


def newest_verified(root: Path) -> Path | None:
    """The verified checkpoint in `root` with the highest step; None when there is none, or no such folder."""
    return next((folder for folder in by_step(root) if verified(folder)), None)


def by_step(root: Path) -> list[Path]:
    """The checkpoint folders in `root`, highest step first."""
    if not root.is_dir():
        return []
    found = [path for path in root.iterdir() if path.is_dir() and _NAME.fullmatch(path.name)]
    return sorted(found, key=step_of, reverse=True)


def prune(root: Path, keep: int) -> None:
    """Remove every checkpoint in `root` but the newest `keep` verified ones; damaged and unsealed ones go as well."""
    kept = 0
    for folder in by_step(root):
        if kept < keep and verified(folder):
            kept += 1
        else:
            shutil.rmtree(folder)


def _contents(folder: Path) -> dict[str, Path]:
    """The files below `folder` by relative name, without the seal."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path for name, path in files.items() if name not in (MANIFEST, _DRAFT)}


def file_sha256(path: Path) -> str:
    """Of the file's bytes, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Force a file or folder to the disk: a rename may otherwise survive a power cut that its content does not."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
