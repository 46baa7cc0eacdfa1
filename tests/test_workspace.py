"""Workspaces, settings, doctor."""

import tomllib
from pathlib import Path

import pytest

from pipeline import config, workspace
from pipeline.doctor import examine
from pipeline.errors import PrefloopError


def test_init_makes_a_workspace_whose_settings_are_the_defaults(tmp_path: Path) -> None:
    made = workspace.init(tmp_path / "ws")
    assert made.settings == config.Settings()
    assert (made.root / "prefloop.db").is_file()
    assert made.root.stat().st_mode & 0o077 == 0


def test_init_twice_keeps_what_the_user_wrote(tmp_path: Path) -> None:
    workspace.init(tmp_path)
    (tmp_path / "prefloop.toml").write_text("seed = 7\n")
    assert workspace.init(tmp_path).settings.seed == 7


def test_every_key_of_the_template_is_there_and_commented() -> None:
    lines = config.template().splitlines()
    keys = [number for number, line in enumerate(lines) if "=" in line and not line.startswith("#")]
    assert len(keys) >= 25
    assert all(lines[number - 1].startswith("# ") for number in keys)
    assert config.Settings(**tomllib.loads(config.template())) == config.Settings()


def test_the_defaults_of_the_stages_are_those_of_the_settings() -> None:
    from pipeline.generate import Sampling
    from pipeline.train_dpo import DpoSettings
    from pipeline.train_reward import RewardSettings
    from pipeline.training import LoraSettings

    for section, stage in (
        (config.SamplingSection(), Sampling()),
        (config.DpoSection(), DpoSettings()),
        (config.RewardSection(), RewardSettings()),
        (config.LoraSection(), LoraSettings()),
    ):
        assert section.model_dump().items() <= stage.__dict__.items()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour = 1", "unknown key colour"),
        ("[sampling]\ntop = 1", r"unknown key sampling\.top"),
        ("[sampling]\ntemperature = -1", r"sampling\.temperature = -1"),
        ("[dpo]\nreference = 'both'", r"dpo\.reference = 'both'"),
        ("seed =", "not valid TOML"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "prefloop.toml"
    file.write_text(text)
    with pytest.raises(PrefloopError, match=message):
        config.read(file)


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "prefloop.toml"
    file.write_text("[sampling]\ntemperature = 0.5\ntop_k = 7\n")
    monkeypatch.setenv("PREFLOOP_SAMPLING__TEMPERATURE", "0.25")
    sampling = config.read(file).sampling
    assert (sampling.temperature, sampling.top_k) == (0.25, 7)


def test_a_workspace_inside_the_source_tree_is_refused() -> None:
    inside = Path(workspace.__file__).parent / "here"
    with pytest.raises(PrefloopError, match="source tree"):
        workspace.init(inside)
    assert not inside.exists()


def test_a_missing_workspace_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(PrefloopError, match="prefloop init"):
        workspace.find(tmp_path)


def test_doctor_names_a_store_that_does_not_answer(tmp_path: Path) -> None:
    made = workspace.init(tmp_path)
    subjects = {finding.subject: finding for finding in examine(made)}
    assert {"store", "sqlite", "disk", "memory", "precision", "model"} <= set(subjects)
    assert subjects["store"].level == "ok"
    assert (subjects["model"].level, "fetched" in subjects["model"].found) == ("warning", True)
    (tmp_path / "prefloop.toml").write_text('store_url = "postgresql://nobody@127.0.0.1:1/none?connect_timeout=1"\n')
    broken = {finding.subject: finding for finding in examine(workspace.find(tmp_path))}
    assert broken["store"].level == "problem"
    assert broken["store"].remedy
