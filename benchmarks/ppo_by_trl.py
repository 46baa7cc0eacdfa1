"""The other side of ppo_vs_trl.py: one run of PPO by TRL 1.12.0, with our reward model read as it was trained."""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import inject_adapter_in_model
from transformers import AutoModelForCausalLM, TrainerCallback
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

from pipeline.language_model import load_tokenizer, prompt_ids, resolve_dtype
from pipeline.reward_model import RewardModel, classifier, mean_of_upper_half, weights_of
from pipeline.training import LoraSettings, machine_arguments


def run_trl(base: Path, options: argparse.Namespace, prompts: list[list[dict[str, str]]]) -> list[dict[str, float]]:
    """Reward, KL and the moment at which they came, by step."""
    tokenizer = load_tokenizer(base)
    policy = AutoModelForCausalLM.from_pretrained(
        base, dtype=resolve_dtype(options.dtype), use_safetensors=True, attn_implementation="eager"
    )
    steps: list[dict[str, float]] = []

    class Note(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            steps.append({"reward": logs["objective/scores"], "kl": logs["objective/kl"], "at": time.monotonic()})

    ppo_trainer.get_reward = partial(reward_of_the_answer, ppo_trainer.get_reward)
    trainer = PPOTrainer(
        args=config(options),
        processing_class=tokenizer,
        model=policy,
        ref_model=None,
        reward_model=reading_the_upper_half(RewardModel.load(base, options.out / "reward", options.dtype).model),
        value_model=value_model(base, options.dtype, tokenizer),
        train_dataset=Dataset.from_list([{"input_ids": prompt_ids(tokenizer, messages)} for messages in prompts]),
        peft_config=LoraSettings().config(policy, "CAUSAL_LM"),
        callbacks=[Note()],
    )
    trainer.train()
    return steps


def value_model(base: Path, dtype: str, tokenizer: Any) -> Any:
    """A second copy of the base under LoRA with a zero head. What is trained is float32, as peft keeps the policy's."""
    value = classifier(base, dtype, tokenizer, seed=0)
    value = inject_adapter_in_model(LoraSettings().config(value, "SEQ_CLS"), value)
    for name, parameter in value.named_parameters():
        parameter.requires_grad_("lora_" in name or name.startswith("score"))
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    value.score.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
    return value


def reading_the_upper_half(model: Any) -> Any:
    """The reward model, whose last hidden states are those that it is read off."""

    def replace(_: Any, __: Any, output: Any) -> Any:
        output.hidden_states = (mean_of_upper_half(output.hidden_states),)
        return output

    model.base_model.register_forward_hook(replace)
    return model


def reward_of_the_answer(
    trls: Any, model: Any, tokens: torch.Tensor, pad_id: int, start: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """TRL's `get_reward`, with the reward read as `reward_model.score_of` reads it: past a head without bias, a sum of
    the scores at the answer's tokens is the score of their sum. `reading_the_upper_half` gives it the states.
    """
    scores, _, last = trls(model, tokens, pad_id, start)
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    answer = (positions >= start) & (positions <= last[:, None])
    return scores, (scores[..., 0] * weights_of(answer)).sum(1), last


def config(options: argparse.Namespace) -> PPOConfig:
    """TRL's arguments. Its KL coefficient is in rewards as they are, ours in deviations of the base's scores."""
    machine = machine_arguments(options.dtype)
    deviation = json.loads((options.out / "reward.json").read_text())["score_deviation"]
    return PPOConfig(
        output_dir=str(options.out / "trl-trainer"),
        total_episodes=options.steps * options.episodes,
        per_device_train_batch_size=options.batch,
        gradient_accumulation_steps=options.episodes // options.batch,  # × the batch: the episodes of a step
        num_mini_batches=options.episodes // options.batch,
        local_rollout_forward_batch_size=options.episodes,
        num_ppo_epochs=options.epochs,
        response_length=options.tokens,
        temperature=options.temperature,
        stop_token="eos",
        learning_rate=options.learning_rate,
        adam_epsilon=1e-5,
        kl_coef=options.kl_coefficient * deviation,
        num_sample_generations=0,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=options.seed,
        gradient_checkpointing=False,
        use_cpu=machine["use_cpu"],
        bf16=machine["bf16"],
        dataloader_pin_memory=machine["dataloader_pin_memory"],
    )
