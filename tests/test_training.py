"""Training for real, on a tiny model: which parameters change, which must not, and what is saved."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from trl.trainer.utils import add_fused_lm_head

from pipeline.checkpoints import file_sha256
from pipeline.errors import PrefloopError
from pipeline.language_model import completion_ids, load, load_tokenizer, prompt_ids
from pipeline.lm_head import add_completion_head
from pipeline.pairs import PreferenceRow
from pipeline.reward_model import RewardModel, encode
from pipeline.train_dpo import DpoSettings, EndOfTurnCollator, train_dpo
from pipeline.train_reward import RewardSettings, heldout_accuracy, margin, train_reward
from pipeline.training import ADAPTER_FILE, LoraSettings

# On a model with random weights only a large step shows an effect within a second.
LORA = LoraSettings(rank=4, alpha=8)
DPO = DpoSettings(learning_rate=2e-2, epochs=3, batch_size=4, lora=LORA, dtype="float32")
REWARD = RewardSettings(learning_rate=1e-2, epochs=6, batch_size=4, lora=LORA, dtype="float32")


def pairs(count: int = 12, ended: bool = True) -> list[PreferenceRow]:
    return [
        PreferenceRow(
            prompt_sha256=f"{number:064x}",
            messages=({"role": "user", "content": f"question {number}"},),
            chosen=f"yes please {number}",
            rejected=f"never, no, not at all {number}",
            chosen_ended=ended,
            rejected_ended=ended,
        )
        for number in range(count)
    ]


def logprob(base: Path, adapter: Path | None, row: PreferenceRow) -> float:
    """log π(chosen) − log π(rejected)"""
    lm = load(base, adapter, dtype="float32")
    (chosen, _), (rejected, _) = lm.completion_logprobs(
        [(row.messages, row.chosen, row.chosen_ended), (row.messages, row.rejected, row.rejected_ended)]
    )
    return chosen - rejected


def test_dpo_moves_the_policy_towards_the_chosen_and_leaves_the_base_alone(tiny_base: Path, tmp_path: Path) -> None:
    before = file_sha256(tiny_base / "model.safetensors")
    rows = pairs()
    result = train_dpo(rows, DPO, tiny_base, None, tmp_path / "adapter", seed=0)
    assert file_sha256(tiny_base / "model.safetensors") == before
    assert result.adapter_sha256 == file_sha256(tmp_path / "adapter" / ADAPTER_FILE)
    assert logprob(tiny_base, result.adapter, rows[0]) > logprob(tiny_base, None, rows[0]) + 0.5
    losses = [value for name, _, value in result.metrics if name == "loss"]
    assert losses[0] == pytest.approx(0.693, abs=1e-3)  # the policy starts at its reference: −log σ(0)
    assert losses[-1] < 0.6
    assert result.tokens > 0
    assert result.peak_memory_bytes > 0


def test_only_the_upper_layers_adapter_is_trained_and_every_part_of_it(tiny_base: Path, tmp_path: Path) -> None:
    """layer_share 0.5 of two layers is the upper one; LoRA's B starts at zero, so a changed one is not zero."""
    train_dpo(pairs(), DPO, tiny_base, None, tmp_path / "adapter", seed=0)
    weights = load_file(tmp_path / "adapter" / ADAPTER_FILE)
    assert {name.split(".layers.")[1].split(".")[0] for name in weights} == {"1"}
    assert len(weights) == 2 * 7  # A and B of q, k, v, o, gate, up, down
    assert all(float(value.abs().max()) > 0 for name, value in weights.items() if "lora_B" in name)


def test_a_child_starts_from_its_parent_and_the_parent_stays(tiny_base: Path, tmp_path: Path) -> None:
    parent = train_dpo(pairs(), DPO, tiny_base, None, tmp_path / "parent", seed=0)
    settings = dataclasses.replace(DPO, reference="parent")
    child = train_dpo(pairs(), settings, tiny_base, parent.adapter, tmp_path / "child", seed=1)
    assert file_sha256(parent.adapter / ADAPTER_FILE) == parent.adapter_sha256
    first = next(value for name, _, value in child.metrics if name == "loss")
    assert first == pytest.approx(0.693, abs=1e-3)  # anchored to the parent, where it starts
    saved = load_file(child.adapter / ADAPTER_FILE)
    assert set(saved) == set(load_file(parent.adapter / ADAPTER_FILE))  # no copy of the reference is saved along
    assert logprob(tiny_base, child.adapter, pairs()[0]) > logprob(tiny_base, parent.adapter, pairs()[0])


def test_a_child_can_be_anchored_to_the_base(tiny_base: Path, tmp_path: Path) -> None:
    parent = train_dpo(pairs(), DPO, tiny_base, None, tmp_path / "parent", seed=0)
    settings = DpoSettings(**{**DPO.__dict__, "reference": "base"})
    child = train_dpo(pairs(), settings, tiny_base, parent.adapter, tmp_path / "child", seed=1)
    first = next(value for name, _, value in child.metrics if name == "loss")
    assert first < 0.6  # the parent has already moved away from the base, towards the chosen


def test_a_fresh_adapter_goes_on_beyond_the_end_of_training_and_a_childs_does_not(
    tiny_base: Path, tmp_path: Path
) -> None:
    def trained(extrapolation: float, parent: Path | None = None) -> Path:
        settings = dataclasses.replace(DPO, extrapolation=extrapolation)
        out = tmp_path / f"{extrapolation} {parent is not None}"
        return train_dpo(pairs(), settings, tiny_base, parent, out, seed=0).adapter

    plain, beyond = (load_file(trained(share) / ADAPTER_FILE) for share in (0.0, 0.5))
    for name, weight in plain.items():
        assert torch.allclose(beyond[name], weight * (1.5 if "lora_B" in name else 1.0), rtol=1e-5), name
    parent = tmp_path / "0.0 False"
    children = [file_sha256(trained(share, parent) / ADAPTER_FILE) for share in (0.0, 0.5)]
    assert children[0] == children[1]


def test_the_likelihood_of_the_chosen_text_weighs_what_it_is_told_to(tiny_base: Path, tmp_path: Path) -> None:
    first = {}
    for weight in (0.0, 0.5, 1.0):
        settings = DpoSettings(**{**DPO.__dict__, "sft_weight": weight})
        result = train_dpo(pairs(), settings, tiny_base, None, tmp_path / f"with-{weight}", seed=0)
        first[weight] = next(value for name, _, value in result.metrics if name == "loss")
    assert first[0.0] == pytest.approx(0.693, abs=1e-3)
    assert first[1.0] - first[0.0] == pytest.approx(2 * (first[0.5] - first[0.0]), rel=0.02)
    assert first[0.5] > first[0.0] + 0.5


def test_label_smoothing_that_the_loss_would_ignore_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    settings = DpoSettings(**{**DPO.__dict__, "label_smoothing": 0.1})
    with pytest.raises(PrefloopError, match="the loss sigmoid does not read it"):
        train_dpo(pairs(), settings, tiny_base, None, tmp_path / "out", seed=0)
    robust = DpoSettings(**{**DPO.__dict__, "label_smoothing": 0.1, "loss_type": "robust"})
    assert train_dpo(pairs(), robust, tiny_base, None, tmp_path / "out", seed=0).adapter.exists()


def test_the_same_seed_trains_the_same_adapter(tiny_base: Path, tmp_path: Path) -> None:
    one = train_dpo(pairs(), DPO, tiny_base, None, tmp_path / "one", seed=5)
    two = train_dpo(pairs(), DPO, tiny_base, None, tmp_path / "two", seed=5)
    other = train_dpo(pairs(), DPO, tiny_base, None, tmp_path / "other", seed=6)
    assert one.adapter_sha256 == two.adapter_sha256 != other.adapter_sha256


def test_a_cut_off_completion_gets_no_end_of_turn(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(tiny_base)
    collate = EndOfTurnCollator(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    templated = [7, 8, tokenizer.eos_token_id, 9]  # text, end of turn, newline: as the chat template closes a turn
    example = {"prompt_ids": [5], "chosen_ids": templated, "rejected_ids": templated}
    batch = collate([{**example, "chosen_ended": True, "rejected_ended": False}])
    kept = [row[mask.bool()].tolist() for row, mask in zip(batch["input_ids"], batch["completion_mask"], strict=True)]
    assert kept == [[7, 8, tokenizer.eos_token_id], [7, 8]]


def test_our_head_gives_what_trl_s_gives_and_the_same_gradient(tiny_base: Path) -> None:
    tokens = torch.randint(5, 300, (3, 11), generator=torch.Generator().manual_seed(0))
    labels = tokens.masked_fill(torch.arange(11) < torch.tensor([[4], [6], [2]]), -100)
    found = []
    for add in (add_fused_lm_head, add_completion_head):
        model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
        add(model, temperature=0.7, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
        model.lm_head.weight.requires_grad_(False)
        out = model(input_ids=tokens, labels=labels, fused_lm_head=True)
        out.log_probs.sum().backward()
        gradient = model.model.layers[0].self_attn.q_proj.weight.grad
        found.append((out.log_probs, out.entropy, out.mean_logits, out.is_top1.float(), gradient))
    theirs, ours = found
    for expected, value in zip(theirs, ours, strict=True):
        mask = (
            (labels[:, 1:] != -100) if value.shape == labels[:, 1:].shape else torch.ones_like(value, dtype=torch.bool)
        )
        assert torch.allclose(value[mask], expected[mask], atol=1e-5)
    assert not ours[0][labels[:, 1:] == -100].any()  # zero where there is no label, as promised


def test_a_reward_model_learns_and_scores_the_same_after_loading(tiny_base: Path, tmp_path: Path) -> None:
    rows = pairs(16)
    result = train_reward(rows[:12], rows[12:], REWARD, tiny_base, tmp_path / "reward", seed=0)
    assert result.summary["heldout_accuracy"] == 1.0
    assert result.summary["heldout_pairs"] == 4
    saved = load_file(result.adapter / ADAPTER_FILE)
    assert any("score" in name for name in saved)  # the head is saved with the adapter
    one, two = (RewardModel.load(tiny_base, result.adapter, "float32") for _ in range(2))
    texts = [(row.messages, row.chosen, True) for row in rows]
    assert one.score(texts) == two.score(texts)
    assert one.score(texts, token_budget=1) == pytest.approx(one.score(texts), abs=1e-4)  # padding changes nothing
    assert heldout_accuracy(one, []) is None


def test_a_reward_model_reads_the_whole_answer_and_nothing_of_the_question(tiny_base: Path, tmp_path: Path) -> None:
    rows = pairs(8)
    result = train_reward(rows, [], REWARD, tiny_base, tmp_path / "reward", seed=0)
    model = RewardModel.load(tiny_base, result.adapter, "float32")
    messages, text = rows[0].messages, rows[0].chosen
    question, answer = prompt_ids(model.tokenizer, messages), completion_ids(model.tokenizer, text, True)
    with torch.no_grad():
        layers = model.model.base_model(torch.tensor([question + answer]), output_hidden_states=True).hidden_states
    assert len(layers) == 3  # the embeddings and two layers, of which the upper half are read
    states = [
        layer[0, i] / layer[0, i].pow(2).mean().sqrt()
        for layer in layers[1:]
        for i in range(len(question), layer.shape[1])
    ]
    told = [float(state @ model.model.score.weight[0]) for state in states]
    tokens, of_last = len(answer), (told[len(answer) - 1] + told[-1]) / 2  # of either layer
    by_hand = (sum(told) / 2 + 0.5 * tokens * of_last) / (tokens + 4)  # four neutral tokens
    assert model.score([(messages, text, True)]) == pytest.approx([by_hand], rel=1e-5)
    cut = encode(model.tokenizer, messages, text, True, max_length=len(answer) - 1)
    assert (len(cut.ids), cut.answer) == (len(answer) - 1, len(answer) - 1)  # it fills the window
    nothing = encode(model.tokenizer, messages, "", False, max_length=512)
    assert (nothing.ids, nothing.answer) == (question, 1)  # read where the answer would begin


def test_the_score_head_of_a_bfloat16_base_is_trained_in_float32(tiny_base: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(REWARD, epochs=1, dtype="bfloat16")
    result = train_reward(pairs(4), [], settings, tiny_base, tmp_path / "reward", seed=0)
    assert load_file(result.adapter / ADAPTER_FILE)["base_model.model.score.weight"].dtype == torch.float32


def test_the_score_head_learns_at_a_rate_of_its_own(tiny_base: Path, tmp_path: Path) -> None:
    """Of Adam's first steps, which are about as long as the rate."""

    def learned(rate: float) -> torch.Tensor:
        settings = dataclasses.replace(REWARD, learning_rate=1e-5, head_rate=rate, epochs=2)
        result = train_reward(pairs(4), [], settings, tiny_base, tmp_path / f"{rate}", seed=0)
        return load_file(result.adapter / ADAPTER_FILE)["base_model.model.score.weight"]

    assert torch.allclose(learned(10.0), 10 * learned(1.0), rtol=0.1, atol=1e-6)


def test_micro_batches_bound_memory_and_change_nothing_of_what_a_reward_model_learns(
    tiny_base: Path, tmp_path: Path
) -> None:
    whole, halves = (
        train_reward(
            pairs(10), [], dataclasses.replace(REWARD, micro_batch_size=size), tiny_base, tmp_path / f"{size}", seed=0
        )
        for size in (4, 2)
    )
    assert whole.summary["steps"] == halves.summary["steps"] == 18  # the last of each epoch has two pairs
    weights = [load_file(result.adapter / ADAPTER_FILE) for result in (whole, halves)]
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], atol=1e-2), name
    settings = dataclasses.replace(REWARD, batch_size=6)
    with pytest.raises(PrefloopError, match=r"micro_batch_size = 4 does not divide reward\.batch_size = 6"):
        train_reward(pairs(), [], settings, tiny_base, tmp_path / "out", seed=0)


def test_a_plain_vote_has_no_margin_and_clearer_preferences_a_wider_one() -> None:
    def of(votes_chosen: int, votes_rejected: int, strength: float | None = None) -> float:
        row = dataclasses.replace(pairs(1)[0], votes_chosen=votes_chosen, votes_rejected=votes_rejected)
        return margin(dataclasses.replace(row, strength=strength))

    assert of(1, 0) == of(1, 0, strength=2) == of(3, 1) == 0
    assert of(2, 1) == pytest.approx(math.log(3 / 4))
    assert of(3, 0) == pytest.approx(math.log(2)) == pytest.approx(of(1, 0, strength=3)) == pytest.approx(-of(1, 0, 1))


def test_the_margin_reaches_the_loss_and_a_zero_head_starts_with_equal_scores(tiny_base: Path, tmp_path: Path) -> None:
    strong = [dataclasses.replace(row, strength=3.0) for row in pairs(4)]
    first = {}
    for name, rows, settings in (
        ("plain", pairs(4), REWARD),
        ("strong", strong, REWARD),
        ("ignored", strong, dataclasses.replace(REWARD, margin_scale=0.0)),
        ("random head", pairs(4), dataclasses.replace(REWARD, head_scale=1.0)),
    ):
        settings = dataclasses.replace(settings, epochs=1)
        result = train_reward(rows, [], settings, tiny_base, tmp_path / name, seed=0)
        first[name] = next(value for metric, _, value in result.metrics if metric == "loss")
    assert first["plain"] == first["ignored"] == pytest.approx(math.log(2), abs=1e-4)  # −log σ(0)
    assert first["strong"] == pytest.approx(math.log(1 + 2), abs=1e-4)  # −log σ(−log 2)
    assert abs(first["random head"] - math.log(2)) > 1e-3


def test_settings_that_cannot_be_are_refused_with_the_remedy(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(PrefloopError, match="label more"):
        train_dpo([], DPO, tiny_base, None, tmp_path / "a", seed=0)
    wrong = DpoSettings(lora=LoraSettings(target_modules="q_proj,made_up"), dtype="float32")
    with pytest.raises(PrefloopError, match=r"made_up.*q_proj"):
        train_dpo(pairs(), wrong, tiny_base, None, tmp_path / "b", seed=0)
    assert not list(tmp_path.glob("*/adapter_model.safetensors"))


def test_a_model_without_a_chat_template_says_how_to_give_one(tiny_base: Path, tmp_path: Path) -> None:
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(tiny_base, bare)
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(PrefloopError, match=r"model\.chat_template"):
        load_tokenizer(bare)
    assert load_tokenizer(bare, chat_template="{{ messages[0]['content'] }}").chat_template


def test_merging_the_adapter_changes_nothing_but_speed(tiny_base: Path, tmp_path: Path) -> None:
    result = train_dpo(pairs(), DPO, tiny_base, None, tmp_path / "adapter", seed=0)
    merged = load(tiny_base, result.adapter, dtype="float32")
    plain = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32), str(result.adapter)
    )
    ids = torch.tensor([merged.prompt_ids([{"role": "user", "content": "hello"}])])
    with torch.inference_mode():
        assert torch.allclose(merged.model(ids).logits, plain(ids).logits, atol=1e-4)
    assert json.loads((result.adapter / "adapter_config.json").read_text())["r"] == LORA.rank
