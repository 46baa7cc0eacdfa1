"""Settings of a workspace: `prefloop.toml`, overridden by PREFLOOP_* environment variables. An unknown key is an error.

Nested keys in the environment are joined by two underscores: PREFLOOP_SAMPLING__TEMPERATURE=0.7.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from .errors import PrefloopError
from .sections import (
    CompareSection,
    DpoSection,
    DriftSection,
    ExamSection,
    GateSection,
    GenerateSection,
    GrpoSection,
    JudgeSection,
    KtoSection,
    LabelSection,
    LoopSection,
    LoraSection,
    ModelSection,
    NotifySection,
    PpoSection,
    PromptsSection,
    RetentionSection,
    RewardSection,
    RlooSection,
    RlSection,
    SamplingSection,
    Section,
    ServeSection,
    SftSection,
    SimulateSection,
    TrainingSection,
    WorkerSection,
)

CONFIG_NAME = "prefloop.toml"
# Of where the work is done and whom it is told, not of the work: no run keeps it. Some of it is secret.
NOT_RECORDED = {"store_url", "worker", "notify", "retention"}


class Settings(BaseSettings):
    """All settings of a workspace. Every field has a default that works with the embedded model on a CPU."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="PREFLOOP_", env_nested_delimiter="__", env_ignore_empty=True
    )

    store_url: str = Field("", description="SQLAlchemy URL; empty is the SQLite file in this workspace")
    seed: int = Field(0, description="of everything that is drawn at random")
    model: ModelSection = ModelSection()
    prompts: PromptsSection = PromptsSection()
    sampling: SamplingSection = SamplingSection()
    generate: GenerateSection = GenerateSection()
    label: LabelSection = LabelSection()
    simulate: SimulateSection = SimulateSection()
    lora: LoraSection = LoraSection()
    training: TrainingSection = TrainingSection()
    reward: RewardSection = RewardSection()
    exam: ExamSection = ExamSection()
    dpo: DpoSection = DpoSection()
    sft: SftSection = SftSection()
    kto: KtoSection = KtoSection()
    ppo: PpoSection = PpoSection()
    rl: RlSection = RlSection()
    rloo: RlooSection = RlooSection()
    grpo: GrpoSection = GrpoSection()
    loop: LoopSection = LoopSection()
    compare: CompareSection = CompareSection()
    judge: JudgeSection = JudgeSection()
    gate: GateSection = GateSection()
    drift: DriftSection = DriftSection()
    serve: ServeSection = ServeSection()
    worker: WorkerSection = WorkerSection()
    notify: NotifySection = NotifySection()
    retention: RetentionSection = RetentionSection()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings  # the file comes in as init values; the environment wins over it


def read(path: Path) -> Settings:
    """Settings from the file, which must exist. Raises PrefloopError that names the key, its value and the reason."""
    try:
        values = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise PrefloopError(f"{path} is not valid TOML: {error}") from None
    try:
        return Settings(**values)
    except ValidationError as error:
        raise PrefloopError("\n".join(f"{path}: {explain(item)}" for item in error.errors())) from None


def overridden(settings: Settings, sections: dict[str, dict[str, Any]]) -> Settings:
    """The settings with other values for keys of these sections; the environment does not win over them.

    Raises PrefloopError that names the section or key, its value and the reason.
    """
    changed: dict[str, Section] = {}
    for name, values in sections.items():
        section = getattr(settings, name, None)
        if not isinstance(section, Section):
            known = ", ".join(key for key, field in Settings.model_fields.items() if isinstance(field.default, Section))
            raise PrefloopError(f"unknown section {name}; it is one of {known}")
        try:
            changed[name] = type(section).model_validate({**section.model_dump(), **values})
        except ValidationError as error:
            raise PrefloopError("\n".join(f"{name}.{explain(item)}" for item in error.errors())) from None
    return settings.model_copy(update=changed)


def explain(item: Any, keys: str = "`prefloop init` in an empty folder shows all keys") -> str:
    """One error of pydantic, with the key, its value and the reason; `keys` says which keys there are."""
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"unknown key {key}; delete it ({keys})"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "missing":
        return f"{key} is missing ({keys})"
    return message if not item["loc"] else f"{key} = {item['input']!r}: {message[:1].lower()}{message[1:]}"


def template() -> str:
    """The text of a new prefloop.toml: every key, its default, and its meaning with the unit."""
    lines = [
        "# prefloop.toml: every key with its default. Environment variables PREFLOOP_SECTION__KEY win over it.",
        "",
    ]
    sections: list[str] = []
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, Section):
            sections += ["", f"[{name}]"]
            for key, inner in type(field.default).model_fields.items():
                sections += [f"# {inner.description}", f"{key} = {_toml(inner.default)}"]
        else:
            lines += [f"# {field.description}", f"{name} = {_toml(field.default)}"]
    return "\n".join(lines + sections) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)
