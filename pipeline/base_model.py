"""Which base model a workspace uses: the embedded one, a local folder, or a hub id; and the hash of its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import embedded_model
from .checkpoints import file_sha256
from .errors import PrefloopError


@dataclass(frozen=True)
class BaseModel:
    name: str  # as it stands in versions: the embedded model's name, or the configured folder or hub id
    folder: Path
    sha256: str  # over the names and hashes of its safetensors files


def resolve(configured: str, cache: Path, say: Callable[[str], None] = lambda _: None) -> BaseModel:
    """Find or fetch the base model. Raises PrefloopError when there is none, or when it has no safetensors."""
    if configured == "embedded":
        return _described(embedded_model.NAME, embedded_model.fetch(cache, say))
    folder = Path(configured).expanduser()
    if folder.is_dir():
        return _described(configured, folder)
    return _described(configured, _from_hub(configured))


def _described(name: str, folder: Path) -> BaseModel:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise PrefloopError(f"{folder} has no *.safetensors; other weight formats can run code on loading, convert it")
    digest = hashlib.sha256()
    for path in weights:
        digest.update(f"{path.name} {file_sha256(path)}\n".encode())
    return BaseModel(name, folder, digest.hexdigest())


def _from_hub(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(hub_id, allow_patterns=["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"])
    except Exception as error:  # the hub client raises a dozen kinds; to the user they are one
        raise PrefloopError(
            f"model.base is {hub_id!r}: no such folder, and the hub did not give it "
            f"({type(error).__name__}: {str(error).splitlines()[0]}); "
            'use "embedded", a local folder, or a hub id that this machine can reach'
        ) from None
    return Path(found)
