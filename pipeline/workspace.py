"""A workspace: the folder that holds one loop's database, artifacts, cache and settings. Never inside the source tree.

<workspace>/prefloop.toml   settings
<workspace>/prefloop.db     the store, unless store_url names another
<workspace>/artifacts/      adapters, pictures and logs, one folder a run
<workspace>/cache/          the converted embedded model; may be deleted
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path
from sqlalchemy import Engine

from db.engine import open_store

from . import config
from .errors import PrefloopError


@dataclass(frozen=True)
class Workspace:
    root: Path
    settings: config.Settings

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def store_url(self) -> str:
        return self.settings.store_url or f"sqlite:///{self.root / 'prefloop.db'}"

    def open_store(self) -> Engine:
        return open_store(self.store_url)

    def chat_template(self) -> str | None:
        path = self.settings.model.chat_template
        return Path(path).expanduser().read_text() if path else None


def default_root() -> Path:
    """$PREFLOOP_HOME, or the user's data folder."""
    home = os.environ.get("PREFLOOP_HOME")
    return Path(home).expanduser() if home else user_data_path("prefloop")


def init(root: Path) -> Workspace:
    """Create what is missing of a workspace; what is there stays as it is."""
    source_tree = Path(__file__).resolve().parent.parent
    if root.resolve().is_relative_to(source_tree):
        raise PrefloopError(f"{root} is inside prefloop's source tree; choose a folder elsewhere")
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o700)  # judgments and prompts are people's words
    (root / "artifacts").mkdir(exist_ok=True)
    (root / "cache").mkdir(exist_ok=True)
    path = root / config.CONFIG_NAME
    if not path.exists():
        draft = path.with_suffix(".partial")
        draft.write_text(config.template())
        draft.rename(path)
    workspace = find(root)
    workspace.open_store().dispose()
    return workspace


def find(root: Path) -> Workspace:
    """The workspace at `root`. Raises PrefloopError with the remedy when there is none."""
    path = root / config.CONFIG_NAME
    if not path.is_file():
        raise PrefloopError(f"there is no workspace in {root}; run `prefloop init` or give another with --workspace")
    return Workspace(root.resolve(), config.read(path))
