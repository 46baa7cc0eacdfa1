"""DPO's family of losses, LoRA's variants, a base in 4 bits, and prompts of any number of turns."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from test_sft_kto import KTO, SFT
from test_training import DPO, LORA, REWARD, pairs
from transformers import AutoModelForCausalLM
from trl import DPOTrainer

from pipeline.demonstrations import DemonstrationRow
from pipeline.errors import PrefloopError
from pipeline.language_model import load, load_tokenizer, prompt_ids
from pipeline.pairs import PreferenceRow
from pipeline.reward_model import RewardModel
from pipeline.thumbs import ThumbRow
from pipeline.train_dpo import LOSSES, LOSSES_WITH_LABEL_SMOOTHING, DpoSettings, train_dpo
from pipeline.train_kto import KtoSettings, train_kto
from pipeline.train_reward import RewardSettings, train_reward
from pipeline.train_sft import SftSettings, train_sft
from pipeline.training import CHANGE_THE_BASE, VARIANTS, LoraSettings


def changed(settings: Any, **values: Any) -> Any:
    return type(settings)(**{**settings.__dict__, **values})


def test_our_list_of_losses_is_trl_s() -> None:
    """An upgrade that brings or takes one is noticed here."""
    source = inspect.getsource(DPOTrainer._compute_loss)
    assert set(re.findall(r'if loss_type == "(\w+)"', source)) == {*LOSSES, "sft"}


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_of_the_family_trains(loss: str, tiny_base: Path, tmp_path: Path) -> None:
    smoothing = 0.1 if loss in LOSSES_WITH_LABEL_SMOOTHING else 0.0
    settings = changed(DPO, loss_type=loss, label_smoothing=smoothing, epochs=2, checkpoint_steps=0)
    result = train_dpo(pairs(8), settings, tiny_base, None, tmp_path / "adapter", seed=0)
    margins = [value for name, _, value in result.metrics if name == "rewards/margins"]
    # At a margin of 0, where training starts, the slope of DiscoPOP's loss points the other way (docs/training.md).
    assert margins[-1] < margins[0] if loss == "discopop" else margins[-1] > margins[0]
    assert result.summary["steps"] == 4


def test_ipo_starts_at_its_known_loss(tiny_base: Path, tmp_path: Path) -> None:
    """(0 − 1/2τ)², Eq. 17 of arXiv:2310.12036, at τ = 0.1"""
    settings = changed(DPO, loss_type="ipo", epochs=1)
    result = train_dpo(pairs(4), settings, tiny_base, None, tmp_path / "adapter", seed=0)
    assert next(value for name, _, value in result.metrics if name == "loss") == pytest.approx(25.0, rel=1e-3)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"loss_type": "sft"}, r"no loss that learns from pairs; use one of sigmoid, .*ipo"),
        ({"loss_type": "made_up"}, r"'made_up'"),
        ({"loss_type": "exo_pair"}, r"label_smoothing above 0"),
        ({"loss_type": "ipo", "label_smoothing": 0.1}, r"ipo does not read it"),
        ({"lora": LoraSettings(variant="pissa")}, r"pissa changes the base's own weights.*lora, rslora, dora"),
        ({"lora": LoraSettings(variant="loro")}, r"'loro' is not known"),
        ({"load_in_4bit": True}, r"model\.load_in_4bit = true needs .*set it to false"),
    ],
)
def test_what_cannot_work_is_refused_by_name(values: Any, said: str, tiny_base: Path, tmp_path: Path) -> None:
    if "load_in_4bit" in values and torch.cuda.is_available():
        pytest.skip("this machine may be able to")
    with pytest.raises(PrefloopError, match=said):
        train_dpo(pairs(), changed(DPO, **values), tiny_base, None, tmp_path / "out", seed=0)
    assert not list(tmp_path.iterdir())


def test_a_reward_model_in_4_bits_is_refused_where_it_cannot_be(tiny_base: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine may be able to")
    with pytest.raises(PrefloopError, match=r"needs a CUDA device"):
        train_reward(pairs(), [], changed(REWARD, load_in_4bit=True), tiny_base, tmp_path / "out", seed=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_survives_saving_merging_and_a_child(variant: str, tiny_base: Path, tmp_path: Path) -> None:
    settings = changed(DPO, lora=LoraSettings(rank=4, alpha=8, variant=variant))
    result = train_dpo(pairs(), settings, tiny_base, None, tmp_path / "adapter", seed=0)
    merged = load(tiny_base, result.adapter, dtype="float32")
    plain = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    ids = torch.tensor([merged.prompt_ids([{"role": "user", "content": "hello"}])])
    with torch.inference_mode():
        bare = plain(ids).logits
        loaded = PeftModel.from_pretrained(plain, str(result.adapter))(ids).logits
        assert torch.allclose(merged.model(ids).logits, loaded, atol=1e-4)
        assert not torch.allclose(loaded, bare, atol=1e-2)
    settings = changed(settings, epochs=1, reference="parent")
    child = train_dpo(pairs(), settings, tiny_base, result.adapter, tmp_path / "child", seed=1)
    first = next(value for name, _, value in child.metrics if name == "loss")
    assert first == pytest.approx(0.693, abs=1e-3)  # the copy that it is anchored to is the parent


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_reward_model_of_each_variant_scores_the_same_after_loading(
    variant: str, tiny_base: Path, tmp_path: Path
) -> None:
    settings = changed(REWARD, lora=LoraSettings(rank=4, alpha=8, variant=variant))
    result = train_reward(pairs(12), pairs(16)[12:], settings, tiny_base, tmp_path / "reward", seed=0)
    assert result.summary["heldout_accuracy"] == 1.0
    model = RewardModel.load(tiny_base, result.adapter, "float32")
    texts = [(row.messages, row.chosen, True) for row in pairs()]
    assert model.score(texts) == RewardModel.load(tiny_base, result.adapter, "float32").score(texts)


def test_the_variants_that_are_refused_do_change_the_base(tiny_base: Path) -> None:
    """PiSSA with its adapter disabled is not the base: DPO's reference and the KL would stand on something else."""
    assert "pissa" in CHANGE_THE_BASE
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    ids = torch.arange(5, 15)[None]
    config = LORA.config(model, "CAUSAL_LM")
    config.init_lora_weights = "pissa"
    with torch.inference_mode():
        before = model(ids).logits
        wrapped = PeftModel(model, config)
        with wrapped.disable_adapter():
            assert not torch.allclose(wrapped(ids).logits, before, atol=1e-3)


TURNS = (
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "first question"},
    {"role": "assistant", "content": "first answer"},
    {"role": "user", "content": "second question"},
)

Row = PreferenceRow | DemonstrationRow | ThumbRow
STAGES: dict[str, tuple[Callable[..., Any], list[Any], Any]] = {
    "sft": (train_sft, [DemonstrationRow("a" * 64, TURNS, "yes", True)] * 4, SFT),
    "dpo": (train_dpo, [PreferenceRow("a" * 64, TURNS, "yes", "no", True, True)] * 4, DPO),
    "kto": (train_kto, [ThumbRow("a" * 64, TURNS, "yes", True, good, 1, 0) for good in (True, False) * 2], KTO),
    "reward": (
        lambda rows, *rest, **named: train_reward(rows, [], rest[0], rest[1], rest[3], **named),
        [PreferenceRow("a" * 64, TURNS, "yes", "no", True, True)] * 4,
        REWARD,
    ),
}


@pytest.mark.parametrize("stage", STAGES)
def test_system_turns_and_earlier_turns_reach_the_model_in_every_stage(
    stage: str, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every sequence of the first batch begins with the prompt as generation renders it."""
    train, rows, settings = STAGES[stage]
    batches: list[dict[str, Any]] = []

    class Seen(Exception):
        pass

    def stop_here(trainer: Any, *_: Any) -> None:
        batches.append(next(iter(trainer.get_train_dataloader())))
        raise Seen

    monkeypatch.setattr(f"pipeline.train_{stage}.run_trainer", stop_here)
    with pytest.raises(Seen):
        train(rows, settings, tiny_base, None, tmp_path / "out", seed=0)
    expected = prompt_ids(load_tokenizer(tiny_base), TURNS)
    (batch,) = batches
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
        assert ids[mask.bool()].tolist()[: len(expected)] == expected


def test_settings_of_a_stage_are_those_that_the_workspace_can_set() -> None:
    """A key in prefloop.toml for every setting of the stage that is its own, with the same default."""
    from pipeline.config import Settings

    shared = {"lora", "dtype", "load_in_4bit", "checkpoint_steps", "warmup_share"}
    for name, stage in (("sft", SftSettings), ("kto", KtoSettings), ("dpo", DpoSettings), ("reward", RewardSettings)):
        section = getattr(Settings(), name).model_dump()
        own = {key: value for key, value in stage().__dict__.items() if key not in shared}
        assert section == own, name
    assert Settings().training.checkpoint_steps == DpoSettings().checkpoint_steps
    assert Settings().lora.model_dump() == LoraSettings().__dict__
