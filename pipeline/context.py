"""What the steps that join stages with the store have in hand: workspace, store, console, and the models in memory."""

from __future__ import annotations

import fcntl
import subprocess
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import IO, TYPE_CHECKING

from rich.console import Console
from sqlalchemy import Engine

from db import runs, versions
from db.engine import reading, writing
from db.tables import Version

from .checkpoints import ADAPTER_FILE
from .errors import PrefloopError
from .progress import Progress
from .workspace import Workspace

if TYPE_CHECKING:  # torch stays out until a model is wanted
    from .base_model import BaseModel
    from .language_model import LanguageModel
    from .reward_model import RewardModel


@dataclass
class Context:
    workspace: Workspace
    engine: Engine
    console: Console
    actor: str = "cli"
    recipe_run_id: int | None = None  # the run of a recipe whose stage this is
    run_id: int | None = None  # the run that is being recorded
    _loaded: tuple[int, LanguageModel] | None = field(default=None, repr=False)
    _in_use: dict[Path, IO[bytes]] = field(default_factory=dict, repr=False)

    @cached_property
    def base(self) -> BaseModel:
        """The configured base model; fetched on first use if it is the embedded one."""
        from . import base_model

        return base_model.resolve(self.workspace.settings.model.base, self.workspace.cache, self.say)

    def base_version(self) -> Version:
        """v0: the bare base as a version."""
        with writing(self.engine) as session:
            return versions.ensure_base(session, self.base.name, self.base.sha256, actor=self.actor)

    def adapter(self, version: Version) -> Path | None:
        """The folder of the version's adapter; None for a bare base. `prefloop gc` leaves it alone from now on.

        Raises PrefloopError for one that was removed.
        """
        if version.adapter_path is None:
            return None
        folder = self.workspace.artifacts / version.adapter_path
        if folder not in self._in_use and (folder / ADAPTER_FILE).is_file():
            self._in_use[folder] = file = (folder / ADAPTER_FILE).open("rb")
            fcntl.flock(file, fcntl.LOCK_SH)  # until this process ends
        if not (folder / ADAPTER_FILE).is_file():
            with reading(self.engine) as session:
                version = versions.get(session, version.id)  # what was read before may be old
            if version.adapter_removed_at is not None:
                raise PrefloopError(
                    f"{versions.without_adapter(version)}; use another version, or train one anew with another seed"
                )
        return folder

    def language_model(self, version: Version) -> LanguageModel:
        """The policy in memory. One at a time: the one before is let go."""
        from . import language_model

        if self._loaded is None or self._loaded[0] != version.id:
            self._loaded = None
            lm = language_model.load(
                self.base.folder,
                self.adapter(version),
                self.workspace.settings.model.dtype,
                self.workspace.chat_template(),
            )
            self._loaded = (version.id, lm)
        return self._loaded[1]

    def reward_adapter(self, version: Version) -> Path:
        """A reward model's adapter. Raises PrefloopError for one whose scores were read in another way in training."""
        from .reward_model import READS

        with reading(self.engine) as session:
            reads = runs.get(session, version.run_id).config.get("reads", "last token") if version.run_id else READS
        if reads != READS:
            raise PrefloopError(
                f"{version.name} was trained by an earlier prefloop, whose scores were the {reads}; now they are the "
                f"{READS}: train it anew with prefloop train reward"
            )
        adapter = self.adapter(version)
        assert adapter is not None, "a reward model always has an adapter"
        return adapter

    def reward_model(self, version: Version) -> RewardModel:
        from .reward_model import RewardModel

        settings = self.workspace.settings
        return RewardModel.load(
            self.base.folder,
            self.reward_adapter(version),
            settings.model.dtype,
            self.workspace.chat_template(),
            settings.reward.max_length,
        )

    def release_models(self) -> None:
        """Let the policy in memory go, before a trainer loads its own."""
        self._loaded = None

    def say(self, text: str) -> None:
        self.console.print(f"[dim]{text}[/dim]", highlight=False)

    def progress(self, what: str, total: int, unit: str, done: int = 0, whole: bool = False) -> Progress:
        """What shows how far this work is, here and in the row of the run that is being recorded."""
        return Progress(self.engine, self.console, self.run_id, what, total, unit, done, whole)


def code_version() -> str:
    """The commit of this checkout, with "+" when files differ from it; the installed version outside of git."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return installed_version("prefloop")
