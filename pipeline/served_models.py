"""The versions of a workspace as one model in memory: the base once, and over it the adapter that is asked for.

An adapter is loaded when it is first asked for, after a look at its hash, and stays. `current` is looked up anew every
time, so that a promotion counts from the next question on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from peft import PeftModel

from db import versions
from db.engine import reading
from db.tables import Version

from . import language_model
from .checkpoints import ADAPTER_FILE, file_sha256
from .config import Settings
from .context import Context
from .errors import PrefloopError
from .generate import Sampling
from .language_model import LanguageModel

CURRENT = "current"


def default_sampling(settings: Settings) -> Sampling:
    """How an answer is drawn where nobody says otherwise: as candidates are, but longer."""
    drawn = settings.sampling.model_dump()
    return Sampling(**{**drawn, "max_new_tokens": settings.serve.max_tokens})


@dataclass
class ServedModels:
    """Not safe for several threads at a time: whoever uses it lets one answer end before the next begins."""

    ctx: Context
    only: str | None = None  # a version's name, or `current`: nothing else is served
    _adapters: Any = field(default=None, repr=False)  # the PeftModel around the base; None before the first adapter

    @cached_property
    def base(self) -> LanguageModel:
        settings = self.ctx.workspace.settings.model
        return language_model.load(self.ctx.base.folder, None, settings.dtype, self.ctx.workspace.chat_template())

    def listed(self) -> list[tuple[str, Version]]:
        """(name, version) of all that can be asked for: `current` first, then every policy over the loaded base."""
        with reading(self.ctx.engine) as session:
            current = versions.current(session)
            found = [row for row in versions.list_versions(session, "policy") if self._fits(row)]
        names = [(CURRENT, current)] if current and self._fits(current) else []
        names += [(row.name, row) for row in found]
        return [(name, row) for name, row in names if self.only in (None, name)]

    def find(self, name: str) -> Version:
        """The version of that name. Raises PrefloopError, with the names that there are, for any other."""
        listed = self.listed()
        for known, version in listed:
            if known == name:
                return version
        with reading(self.ctx.engine) as session:
            removed = [row for row in versions.list_versions(session, "policy") if row.adapter_removed_at is not None]
        for version in removed:
            if version.name == name:
                raise PrefloopError(f"{versions.without_adapter(version)}; ask another model")
        known_names = ", ".join(known for known, _ in listed) or "none; run `prefloop loop`, or `prefloop demo`"
        raise PrefloopError(f"there is no model {name!r} here; known: {known_names}")

    def choose(self, version: Version) -> LanguageModel:
        """The model, answering as this version until the next call."""
        adapter = self.ctx.adapter(version)
        if adapter is None:
            if self._adapters is not None:
                self._adapters.base_model.disable_adapter_layers()
            return self.base
        if self._adapters is None or version.name not in self._adapters.peft_config:
            found = file_sha256(adapter / ADAPTER_FILE) if (adapter / ADAPTER_FILE).is_file() else "none"
            if found != version.adapter_sha256:
                raise PrefloopError(
                    f"the adapter of {version.name} has sha256 {found[:12]}, its version says "
                    f"{str(version.adapter_sha256)[:12]}; see `prefloop verify`"
                )
            options = {"adapter_name": version.name, "use_safetensors": True}
            if self._adapters is None:  # the layers are put into the base in place: `self.base` has them, too
                self._adapters = PeftModel.from_pretrained(self.base.model, str(adapter), **options)
            else:
                self._adapters.load_adapter(str(adapter), **options)
            self._adapters.eval().requires_grad_(False)
        self._adapters.base_model.enable_adapter_layers()
        self._adapters.set_adapter(version.name, inference_mode=True)
        return self.base

    def _fits(self, version: Version) -> bool:
        return version.base_sha256 == self.ctx.base.sha256 and version.adapter_removed_at is None
