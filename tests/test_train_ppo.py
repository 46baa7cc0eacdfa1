"""PPO for real, on a tiny model: four roles on one base, the loop, its stops, and what a crash must not lose."""

import dataclasses
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from accelerate import PartialState
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from pipeline import checkpoints, ppo, ppo_state, roles
from pipeline.errors import PrefloopError
from pipeline.language_model import load
from pipeline.pairs import PreferenceRow
from pipeline.ppo_settings import PpoSettings
from pipeline.ppo_state import Start
from pipeline.reward_model import RewardModel
from pipeline.rollout import Experience, PromptRow, evaluate, requests_of_step, roll_out
from pipeline.stopping import Stopped
from pipeline.train_dpo import DpoSettings, train_dpo
from pipeline.train_ppo import illness, train_ppo
from pipeline.train_reward import RewardSettings, train_reward
from pipeline.training import ADAPTER_FILE, LoraSettings, Metric, TrainResult, file_sha256

LORA = LoraSettings(rank=4, alpha=8)
PPO = PpoSettings(
    steps=4,
    rollout_size=8,
    batch_size=4,
    micro_batch_size=2,
    max_new_tokens=6,
    temperature=1.0,
    learning_rate=1e-2,
    value_learning_rate=1e-2,
    kl_limit=1e4,
    checkpoint_steps=1,
    lora=LORA,
    dtype="float32",
)
PROMPTS = [PromptRow.of(f"question {number} " + "and so on " * (number % 3)) for number in range(11)]


def pairs(count: int = 12) -> list[PreferenceRow]:
    """Short answers are better than long ones."""
    return [
        PreferenceRow(
            prompt_sha256=f"{number:064x}",
            messages=({"role": "user", "content": f"question {number}"},),
            chosen=f"yes {number}",
            rejected=f"never, no, not at all {number}",
            chosen_ended=True,
            rejected_ended=True,
        )
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def tiny_base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with larger embeddings: as it is, no update could move its next token far from uniform."""
    folder = tmp_path_factory.mktemp("sharp-base")
    shutil.copytree(tiny_base, folder, dirs_exist_ok=True)
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"] *= 10
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def reward(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = RewardSettings(learning_rate=1e-2, epochs=4, batch_size=4, lora=LORA, dtype="float32")
    return train_reward(pairs(), [], settings, tiny_base, tmp_path_factory.mktemp("reward") / "adapter", 0).adapter


@pytest.fixture(scope="module")
def parent(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = DpoSettings(learning_rate=2e-2, epochs=1, batch_size=4, lora=LORA, dtype="float32")
    return train_dpo(pairs(), settings, tiny_base, None, tmp_path_factory.mktemp("parent") / "adapter", 0).adapter


def four_roles(base: Path, parent: Path | None, reward: Path, settings: PpoSettings = PPO) -> roles.Roles:
    return roles.load(
        base,
        parent,
        reward,
        settings.lora,
        settings.reference,
        settings.dtype,
        settings.temperature,
        512,
        None,
        torch.device("cpu"),
        seed=0,
    )


def experience_of(models: roles.Roles, settings: PpoSettings = PPO, step: int = 0) -> Experience:
    process = PartialState(cpu=True)
    requests = requests_of_step(PROMPTS, step, settings.rollout_size, 0)
    return evaluate(models, roll_out(models, requests, settings, process, 0), settings, process)


def metric(result: TrainResult, name: str) -> list[float]:
    return [value for found, _, value in result.metrics if found == name]


def test_the_reward_role_scores_as_the_reward_model_does(tiny_base: Path, reward: Path) -> None:
    models = four_roles(tiny_base, None, reward)
    rows = [(row.messages, text, ended) for row in pairs(4) for text in (row.chosen, "") for ended in (True, False)]
    expected = RewardModel.load(tiny_base, reward, "float32").score(rows)
    assert models.scores(rows) == pytest.approx(expected, abs=1e-4)
    assert models.scores(rows, token_budget=1) == pytest.approx(expected, abs=1e-4)
    assert max(expected) - min(expected) > 0.1  # and says something


def test_policy_and_reference_are_what_the_separate_models_are(tiny_base: Path, parent: Path, reward: Path) -> None:
    """Against transformers' own loss path with padding on the left and an attention mask."""
    models = four_roles(tiny_base, parent, reward)
    rows = [(models.tokenizer("hello")["input_ids"], [7, 9, 1]), (models.tokenizer("a longer one")["input_ids"], [8])]
    packed = roles.pack(rows, 4, models.tokenizer.pad_token_id, models.device)
    assert packed.mask_B_T.tolist() == [[True, True, True, False], [True, False, False, False]]
    for adapter, found in ((parent, models.act(packed)[0]), (parent, models.reference_logprobs(packed))):
        lm = load(tiny_base, adapter, "float32")
        tokens, mask = lm.pad_left([prompt + completion for prompt, completion in rows])
        with torch.inference_mode():
            logits = lm.model(tokens, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0)).logits
        for line, (_, completion) in enumerate(rows):
            slow = [
                float(logits[line, -len(completion) + t - 1].log_softmax(0)[token])
                for t, token in enumerate(completion)
            ]
            assert found[line].tolist()[: len(slow)] == pytest.approx(slow, abs=1e-4)
            assert not found[line, len(slow) :].any()
    bare = four_roles(tiny_base, parent, reward, dataclasses.replace(PPO, reference="base")).reference_logprobs(packed)
    assert torch.equal(bare, four_roles(tiny_base, None, reward).reference_logprobs(packed))
    assert not torch.allclose(bare, models.reference_logprobs(packed), atol=1e-2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_ratio_starts_at_exactly_1_and_values_at_exactly_0(
    tiny_base: Path, parent: Path, reward: Path, dtype: str
) -> None:
    models = four_roles(tiny_base, parent, reward, dataclasses.replace(PPO, dtype=dtype))
    experience = experience_of(models)
    for rows in PPO.micro_batches:
        packed = experience.packed(rows, models)
        logprobs, values = models.act(packed)
        assert torch.equal(logprobs.detach(), experience.logprobs_R_T[rows])
        assert not values.any()
    assert torch.equal(experience.logprobs_R_T, experience.reference_R_T)  # the parent is its own reference
    assert experience.figures()["kl"] == 0.0


def test_going_on_from_the_layers_below_the_adapters_changes_nothing_to_the_last_bit(
    tiny_base: Path, parent: Path, reward: Path
) -> None:
    models = four_roles(tiny_base, parent, reward)
    experience = experience_of(models)
    rows = PPO.micro_batches[0]
    packed = experience.packed(rows, models)
    below = experience.below[rows.start]
    assert models.shared_layers == 1  # of two: the adapters are in the upper half
    found = []
    for start in (None, below):
        logprobs, values = models.act(packed, start)
        (logprobs.sum() + values.sum()).backward()
        found.append([logprobs, *(p.grad for p in models.policy_parameters.values())])
        models.model.zero_grad(set_to_none=True)
    assert all(torch.equal(whole, shared) for whole, shared in zip(*found, strict=True))
    assert torch.equal(models.reference_logprobs(packed, below), models.reference_logprobs(packed))


def test_without_a_layer_free_of_adapters_nothing_is_shared(tiny_base: Path, reward: Path) -> None:
    everywhere = dataclasses.replace(PPO, lora=dataclasses.replace(PPO.lora, layer_share=1.0))
    models = four_roles(tiny_base, None, reward, everywhere)
    assert models.shared_layers == 0
    assert experience_of(models, everywhere).below == {}


def test_sampling_leaves_the_base_as_it_was_and_draws_from_the_policy(
    tiny_base: Path, parent: Path, reward: Path
) -> None:
    models = four_roles(tiny_base, parent, reward)
    before = {name: value.clone() for name, value in models.model.state_dict().items()}
    ids = torch.tensor([models.tokenizer("hello there")["input_ids"]])
    with models.sampler() as lm, torch.inference_mode():
        merged = lm.model(ids).logits
    plain = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32), str(parent)
    ).eval()
    with torch.inference_mode():
        assert torch.allclose(merged, plain(ids).logits, atol=1e-4)
        assert not torch.allclose(merged, plain.get_base_model()(ids).logits * 0, atol=1e-2)
    after = models.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(getattr(module, "merged", False) for module in models.model.modules())


def test_every_prompt_comes_once_a_pass_and_never_with_the_same_random_stream() -> None:
    seen = [(r.prompt_id, r.sample_index) for step in range(6) for r in requests_of_step(PROMPTS, step, 8, seed=0)]
    assert len(set(seen)) == len(seen) == 48
    assert {prompt for prompt, pass_number in seen if pass_number == 0} == set(range(11))
    first = [r.prompt_id for r in requests_of_step(PROMPTS, 0, 8, seed=0)]
    assert first != [r.prompt_id for r in requests_of_step(PROMPTS, 0, 8, seed=1)]


def eat_letters(_: roles.Roles, rows: Sequence[tuple[Sequence[dict[str, str]], str, bool]]) -> list[float]:
    """A reward that a tiny model can find: letters e, a and t."""
    return [float(sum(letter in "eat" for letter in text)) for _, text, _ in rows]


def test_ppo_raises_the_reward_and_trains_every_part_it_should(
    tiny_base: Path, reward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roles.Roles, "scores", eat_letters)
    before = file_sha256(tiny_base / "model.safetensors"), file_sha256(reward / ADAPTER_FILE)
    settings = dataclasses.replace(PPO, steps=14, rollout_size=16, batch_size=8, micro_batch_size=8, epochs=3)
    heard: list[Metric] = []

    def second_judge(rows: Sequence[tuple[Sequence[dict[str, str]], str, bool]]) -> list[float]:
        return [float(ended) for _, _, ended in rows]

    def listen(new: list[Metric], step: int, steps: int) -> None:
        assert 0 < step <= steps == settings.steps
        heard.extend(new)

    result = train_ppo(
        PROMPTS, settings, tiny_base, None, reward, tmp_path / "adapter", 0, listen, second_judge=second_judge
    )
    assert (file_sha256(tiny_base / "model.safetensors"), file_sha256(reward / ADAPTER_FILE)) == before
    rewards = metric(result, "reward")
    assert sum(rewards[-3:]) > 2 * sum(rewards[:3])
    assert sum(metric(result, "explained_variance")[-7:]) / 7 > 0.05  # the value function sees some of it coming
    assert metric(result, "second_reward") == metric(result, "ended")
    assert metric(result, "kl")[0] == 0.0
    assert metric(result, "kl")[-1] > 1
    falling = metric(result, "learning_rate")
    assert falling[0] == settings.learning_rate
    assert falling[-1] == pytest.approx(settings.learning_rate / 14)
    assert heard == result.metrics
    assert result.summary["stopped"] is None
    assert result.summary["episodes"] == 14 * 16
    assert all(math.isfinite(value) for name, _, value in result.metrics)
    weights = load_file(result.adapter / ADAPTER_FILE)
    assert {name.split(".layers.")[1].split(".")[0] for name in weights} == {"1"}  # the upper half, and no other role
    assert len(weights) == 2 * 7
    assert all(float(value.abs().max()) > 0 for name, value in weights.items() if "lora_B" in name)
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 14 * 4
    assert {"step", "reward", "prompt", "completion", "ended"} == set(samples[0])


def test_micro_batches_change_the_memory_and_not_the_update(tiny_base: Path, reward: Path, tmp_path: Path) -> None:
    """One step of one update: eight episodes at once, and one by one."""
    weights = []
    for size in (8, 1):
        settings = dataclasses.replace(PPO, steps=1, epochs=1, batch_size=8, micro_batch_size=size)
        result = train_ppo(PROMPTS, settings, tiny_base, None, reward, tmp_path / f"by-{size}", 0)
        weights.append(load_file(result.adapter / ADAPTER_FILE))
    together, alone = weights
    for name, value in together.items():
        assert torch.allclose(value, alone[name], atol=2e-4), name  # Adam's first step is 1e-2 in each parameter


@pytest.mark.parametrize(
    ("figures", "word"),
    [
        ({"kl": 51.0}, "KL blew up: 51.0"),
        ({"kl": math.nan}, "KL blew up"),
        ({"length": 1.9}, "answers collapsed to 1.9 tokens from 20.0"),
        ({"entropy": 0.09}, "entropy collapsed to 0.090"),
        ({}, None),
    ],
)
def test_an_ill_policy_is_told_from_a_healthy_one(figures: dict[str, float], word: str | None) -> None:
    healthy = {"kl": 5.0, "length": 10.0, "entropy": 1.0}
    start = Start(score_mean=0.0, score_deviation=1.0, length=20.0, entropy=2.0)
    reason = illness(healthy | figures, start, PpoSettings())
    assert (reason is None) if word is None else (reason is not None and word in reason)


def test_a_blow_up_stops_the_run_with_its_reason_and_the_last_good_adapter(
    tiny_base: Path, reward: Path, tmp_path: Path
) -> None:
    wild = dataclasses.replace(PPO, learning_rate=0.3, kl_limit=3.0, steps=6, kl_control="fixed")
    stopped = train_ppo(PROMPTS, wild, tiny_base, None, reward, tmp_path / "adapter", 0)
    assert "KL blew up" in stopped.summary["stopped"]
    done = stopped.summary["steps"]
    assert 1 <= done < 6
    assert metric(stopped, "kl")[-1] > 3.0 >= max(metric(stopped, "kl")[:-1])
    assert stopped.summary["final_kl"] <= 3.0
    # The weights are those that drew the last healthy rollout.
    models = four_roles(tiny_base, stopped.adapter, reward, dataclasses.replace(wild, reference="base"))
    drawn = experience_of(models, wild, step=done - 1).figures()
    assert drawn["kl"] == pytest.approx(stopped.summary["final_kl"], abs=1e-3)


def test_a_non_finite_loss_stops_the_run_and_is_not_applied(
    tiny_base: Path, reward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = ppo.policy_loss, []

    def poisoned(*arguments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(1)
        loss, clipped = plain(*arguments)  # type: ignore[arg-type]
        return loss * (math.nan if len(calls) > 10 else 1.0), clipped  # 8 in a step

    monkeypatch.setattr(ppo, "policy_loss", poisoned)
    result = train_ppo(PROMPTS, PPO, tiny_base, None, reward, tmp_path / "adapter", 0)
    assert result.summary["stopped"] == "the loss became non-finite in step 2"
    weights = load_file(result.adapter / ADAPTER_FILE)
    assert all(bool(value.isfinite().all()) for value in weights.values())
    assert any(float(value.abs().max()) > 0 for name, value in weights.items() if "lora_B" in name)
    calls.extend([1] * 10)
    with pytest.raises(PrefloopError, match="non-finite in step 1, before anything was learned"):
        train_ppo(PROMPTS, PPO, tiny_base, None, reward, tmp_path / "none", 0)
    assert not (tmp_path / "none").exists()


def test_settings_that_cannot_be_are_refused_with_the_remedy(tiny_base: Path, reward: Path, tmp_path: Path) -> None:
    def train(prompts: list[PromptRow] = PROMPTS, reward: Path = reward, **changes: int) -> None:
        settings = dataclasses.replace(PPO, **changes)  # type: ignore[arg-type]
        train_ppo(prompts, settings, tiny_base, None, reward, tmp_path / "out", 0)

    with pytest.raises(PrefloopError, match="batch_size = 4 is no multiple of ppo.micro_batch_size = 3"):
        train(micro_batch_size=3)
    with pytest.raises(PrefloopError, match="prompts import"):
        train(prompts=[])
    with pytest.raises(PrefloopError, match="does not fit the model's window of 512.*ppo.max_new_tokens"):
        train(max_new_tokens=510)
    assert not (tmp_path / "out").exists()


def test_a_policy_is_refused_as_a_reward_model(tiny_base: Path, parent: Path, tmp_path: Path) -> None:
    with pytest.raises(PrefloopError, match="no score head"):
        train_ppo(PROMPTS, PPO, tiny_base, None, parent, tmp_path / "out", 0)


FORK = multiprocessing.get_context("fork")  # a fresh interpreter would import for longer than it trains


def train_and_tell(told: Connection, base: Path, reward: Path, out: Path, seed: int) -> None:
    """In a process of its own: says how many steps are done, and takes its time over it."""

    def tell(_: list[Metric], step: int, steps: int) -> None:
        told.send(step)
        time.sleep(0.1)

    torch.set_num_threads(1)  # a fork must not wait for its parent's threads
    train_ppo(PROMPTS, PPO, base, None, reward, out, seed, tell)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_killed_run_ends_with_the_same_weights(tiny_base: Path, reward: Path, tmp_path: Path, seed: int) -> None:
    """kill -9 at a random moment after the first checkpoint, then the same call again."""
    undisturbed = train_ppo(PROMPTS, PPO, tiny_base, None, reward, tmp_path / "undisturbed", seed)
    out = tmp_path / "killed"
    heard_end, told_end = FORK.Pipe(duplex=False)
    process = FORK.Process(target=train_and_tell, args=(told_end, tiny_base, reward, out, seed))
    process.start()
    told_end.close()
    rng = random.Random(seed)
    step = rng.choice([2, 3])
    while heard_end.recv() < step:
        pass
    time.sleep(rng.uniform(0, 0.25))  # a step takes about 0.1 s, and the pause as long: anywhere in this or the next
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not out.exists()
    assert checkpoints.newest_verified(checkpoints.root_of(out)) is not None
    heard: list[Metric] = []
    resumed = train_ppo(PROMPTS, PPO, tiny_base, None, reward, out, seed, lambda new, *_: heard.extend(new))
    assert resumed.adapter_sha256 == undisturbed.adapter_sha256
    assert resumed.metrics == undisturbed.metrics == heard
    assert resumed.summary == undisturbed.summary
    assert (tmp_path / "samples.jsonl").read_text().count("\n") == PPO.steps * 4


def test_a_damaged_checkpoint_is_passed_over_and_another_run_s_is_refused(
    tiny_base: Path, reward: Path, tmp_path: Path
) -> None:
    undisturbed = train_ppo(PROMPTS, PPO, tiny_base, None, reward, tmp_path / "undisturbed", 0)
    out = tmp_path / "adapter"
    root = checkpoints.root_of(out)

    def train(seed: int = 0, stop_after: int | None = None) -> TrainResult:
        def listen(new: list[Metric], step: int, steps: int) -> None:
            if step == stop_after:
                os.kill(os.getpid(), signal.SIGTERM)

        return train_ppo(PROMPTS, PPO, tiny_base, None, reward, out, seed, listen)

    with pytest.raises(Stopped, match="stopped by SIGTERM after step 3 of 4; the same command goes on"):
        train(stop_after=3)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # handed back
    newest = checkpoints.newest_verified(root)
    assert newest is not None
    assert checkpoints.step_of(newest) == 3
    with pytest.raises(PrefloopError, match="delete the folder to start over"):
        train(seed=1)
    (newest / "optimizer.pt").unlink()  # a trainer that trusted the folder would go on with an empty optimizer
    assert train().adapter_sha256 == undisturbed.adapter_sha256


def test_a_full_disk_fails_clearly_and_leaves_the_checkpoint_before(
    tiny_base: Path, reward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ppo_state.Store._write

    def write(store: ppo_state.Store, folder: Path, state: ppo_state.State) -> None:
        whole(store, folder, state)
        if state.step == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(ppo_state.Store, "_write", write)
    out = tmp_path / "adapter"
    with pytest.raises(PrefloopError, match=r"of step 3 could not be written.*No space left.*make room"):
        train_ppo(PROMPTS, PPO, tiny_base, None, reward, out, 0)
    assert sorted(path.name for path in checkpoints.root_of(out).iterdir()) == ["checkpoint-1", "checkpoint-2"]
    monkeypatch.undo()
    assert train_ppo(PROMPTS, PPO, tiny_base, None, reward, out, 0).summary["steps"] == PPO.steps
