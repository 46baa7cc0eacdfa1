"""A recipe: an ordered list of stages with their settings, in a TOML file; what a schedule starts and a worker does.

    annotators = "human"              # whose judgments
    start = "current"                 # what the policy is trained from: base or current

    [[stages]]
    stage = "snapshot"

    [[stages]]
    stage = "dpo"
    timeout_minutes = 120
    [stages.settings.dpo]             # the keys of prefloop.toml, for this stage alone
    beta = 0.2

    ...

All of it is checked before anything starts: unknown keys, settings out of bounds, and orders that cannot work.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .config import Settings, explain, overridden
from .errors import PrefloopError
from .pairs import Shape

StageName = Literal["snapshot", "reward", "exam", "sft", "kto", "dpo", "ppo", "rloo", "grpo", "compare", "promote"]
TRAINERS: tuple[StageName, ...] = ("sft", "kto", "dpo", "ppo", "rloo", "grpo")
NEEDS: dict[StageName, tuple[StageName, ...]] = {
    "reward": ("snapshot",),
    "exam": ("reward",),
    "sft": ("snapshot",),
    "kto": ("snapshot",),
    "dpo": ("snapshot",),
    "ppo": ("reward", "exam"),
    "rloo": ("reward", "exam"),
    "grpo": ("reward", "exam"),
    "promote": ("compare",),
}
SHAPES: dict[StageName, Shape] = {"reward": "pairs", "dpo": "pairs", "sft": "demonstrations", "kto": "thumbs"}
DEFAULT = Path(__file__).parent / "data" / "recipe.toml"


class Stage(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: StageName
    settings: dict[str, dict[str, Any]] = {}  # by section of prefloop.toml
    seed: int | None = None  # None: that of prefloop.toml
    timeout_minutes: float = Field(1440, gt=0)

    @field_validator("settings")
    @classmethod
    def no_other_base(cls, settings: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        if "model" in settings:
            raise ValueError("the base model is the same in all stages; set it in prefloop.toml")
        return settings


class Recipe(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""  # the file's, unless it is given
    annotators: Literal["human", "simulated"] = "human"
    start: Literal["base", "current"] = "current"
    judges: tuple[str, ...] = ()  # of the comparison, the first decides; empty: this recipe's reward model
    stages: tuple[Stage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def can_be_done_in_this_order(self) -> Recipe:
        before: list[StageName] = []
        for name in (stage.stage for stage in self.stages):
            if name in before:
                raise ValueError(f"the stage {name} stands there twice; a recipe does each once")
            for needed in NEEDS.get(name, ()):
                if needed not in before:
                    raise ValueError(f"the stage {name} needs {needed} before it; put one there")
            if name == "compare" and not set(TRAINERS) & set(before):
                raise ValueError(f"the stage compare needs one of {', '.join(TRAINERS)} before it; put one there")
            if name in TRAINERS and "compare" in before:
                raise ValueError(f"the stage {name} comes after compare, which would not see its version; move it up")
            before.append(name)
        return self

    def shapes(self) -> list[Shape]:
        """The shapes of rows that its stages learn from."""
        return sorted({SHAPES[stage.stage] for stage in self.stages if stage.stage in SHAPES})

    def stage(self, name: str) -> Stage:
        """Its stage of that name. Raises PrefloopError when it has none."""
        for stage in self.stages:
            if stage.stage == name:
                return stage
        raise PrefloopError(f"the recipe has no stage {name}; it has {', '.join(s.stage for s in self.stages)}")

    def as_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


def read(path: Path, settings: Settings) -> Recipe:
    """The recipe in the file, fit for a workspace with these settings. Raises PrefloopError that names every fault."""
    try:
        text = path.read_text()
    except OSError as error:
        raise PrefloopError(f"the recipe {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise PrefloopError(f"{path} is not valid TOML: {error}") from None
    return parse(text, path.stem, settings, f"{path}")


def parse(text: str, name: str, settings: Settings, where: str) -> Recipe:
    """The recipe in a text, called `name` unless it says otherwise. Raises PrefloopError: a line for every fault, each
    beginning with `where`."""
    try:
        values = {"name": name, **tomllib.loads(text)}
    except tomllib.TOMLDecodeError as error:
        raise PrefloopError(f"{where} is not valid TOML: {error}") from None
    faults, recipe = [], None
    try:
        recipe = Recipe(**values)
    except ValidationError as error:
        faults = [explain(item, _KEYS) for item in error.errors()]
    faults += _faults_of_settings(values["stages"] if isinstance(values.get("stages"), list) else [], settings)
    if faults or recipe is None:
        raise PrefloopError("\n".join(f"{where}: {fault}" for fault in faults))
    return recipe


def _faults_of_settings(stages: list[Any], settings: Settings) -> list[str]:
    """What is wrong with the settings of stages, as far as they have the shape of settings."""
    faults: list[str] = []
    for stage in (each for each in stages if isinstance(each, dict)):
        sections = stage.get("settings")
        for section, values in sections.items() if isinstance(sections, dict) else ():
            try:
                overridden(settings, {section: values} if isinstance(values, dict) else {})
            except PrefloopError as error:
                faults += [f"stage {stage.get('stage')}: {line}" for line in str(error).splitlines()]
    return faults


def fit(values: dict[str, Any]) -> Recipe:
    """A recipe out of the store, which was checked when it came in. Raises PrefloopError if the code moved on."""
    try:
        return Recipe(**values)
    except ValidationError as error:
        told = "; ".join(explain(item, _KEYS) for item in error.errors())
        raise PrefloopError(f"the recipe was stored by other code and cannot be followed: {told}") from None


def _of(model: type[BaseModel]) -> str:
    return ", ".join(model.model_fields)


_KEYS = f"a recipe has {_of(Recipe)}; a stage has {_of(Stage)}"
