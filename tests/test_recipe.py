"""Recipes: what is wrong with one is said before anything starts."""

from pathlib import Path

import pytest

from pipeline.config import Settings
from pipeline.errors import PrefloopError
from pipeline.recipe import DEFAULT, fit, read


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def stages(*names: str) -> str:
    return "".join(f'[[stages]]\nstage = "{name}"\n' for name in names)


def test_the_built_in_recipe_is_one_and_comes_back_from_the_store() -> None:
    recipe = read(DEFAULT, Settings())
    assert [stage.stage for stage in recipe.stages] == ["snapshot", "reward", "exam", "dpo", "compare", "promote"]
    assert fit(recipe.as_dict()) == recipe


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["dpo"], "the stage dpo needs snapshot before it"),
        (["snapshot", "reward", "ppo"], "the stage ppo needs exam before it"),
        (["snapshot", "exam", "reward"], "the stage exam needs reward before it"),
        (["snapshot", "compare"], "the stage compare needs one of sft, kto, dpo"),
        (["snapshot", "dpo", "promote"], "the stage promote needs compare before it"),
        (["snapshot", "dpo", "compare", "sft"], "the stage sft comes after compare"),
        (["snapshot", "dpo", "dpo"], "the stage dpo stands there twice"),
    ],
)
def test_an_order_that_cannot_work_is_refused(tmp_path: Path, names: list[str], words: str) -> None:
    with pytest.raises(PrefloopError, match=words):
        read(written(tmp_path, stages(*names)), Settings())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour = 1\n" + stages("snapshot"), "unknown key colour"),
        (stages("snapshot") + "when = 1\n", r"unknown key stages\.0\.when"),
        (stages("sharpen"), "stages.0.stage = 'sharpen'"),
        ("annotators = 'human'\n", "stages is missing"),
        (stages("snapshot") + "[stages.settings.dpo]\nbeat = 1\n", r"stage snapshot: dpo\.unknown key beat"),
        (stages("snapshot") + "[stages.settings.dpo]\nbeta = -1\n", r"snapshot: dpo\.beta = -1: .*greater than 0"),
        (stages("snapshot") + "[stages.settings.dops]\nbeta = 1\n", "unknown section dops; it is one of"),
        (stages("snapshot") + "[stages.settings.model]\nbase = 'x'\n", "the base model is the same in all stages"),
        ("stages = [", "not valid TOML"),
    ],
)
def test_an_unknown_key_or_value_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(PrefloopError, match=words):
        read(written(tmp_path, text), Settings())


def test_a_recipe_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(PrefloopError, match="cannot be read: No such file"):
        read(tmp_path / "none.toml", Settings())
