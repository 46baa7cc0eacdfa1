"""TRAIN: online reinforcement learning without a value model, with LoRA, through TRL's RLOOTrainer and GRPOTrainer.

Several completions are drawn for each prompt, and each is compared with its siblings. RLOO (Ahmadian et al. 2024,
arXiv:2402.14740) takes the mean reward of the others as the baseline, and one log-ratio for the whole completion; the
KL penalty is part of the reward. GRPO (Shao et al. 2024, arXiv:2402.03300) divides by the group's deviation, clips
token by token, and adds the KL to the loss. TRL draws and steps; the rewards are ours (`rewards.py`).

Completions are drawn by `transformers.generate`. TRL's hook for another generator, `rollout_func`, is experimental and
GRPO's alone, and its continuous batching casts a bfloat16 run's adapter for good; neither is used.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from .errors import PrefloopError
from .language_model import (
    LanguageModel,
    Message,
    best_device,
    load_tokenizer,
    prompt_ids,
)
from .lm_head import completion_only_head
from .policy_model import load_policy
from .rewards import Score, Term, weigh
from .trainer_checkpoints import checkpoint_arguments
from .training import LoraSettings, MetricsCallback, OnMetrics, TrainResult, machine_arguments, run_trainer

SAMPLES_FILE = "samples.jsonl"
SAMPLES_A_STEP = 4


@dataclass(frozen=True)
class OnlineSettings:
    """What RLOO and GRPO share."""

    steps: int = 60  # of the optimizer; each draws anew
    prompts_per_step: int = 8
    generations: int = 4  # completions of each prompt, at least 2
    max_new_tokens: int = 64  # tokens, completion only
    temperature: float = 1.0  # of drawing; log-probabilities are taken at it, too
    beta: float = 0.05  # strength of the pull to the reference
    reference: Literal["parent", "base"] = "parent"
    learning_rate: float = 1e-4
    updates_per_draw: int = 1  # optimizer steps on the same completions; `clip` matters above 1
    clip: float = 0.2  # how far a probability ratio may leave 1
    micro_batch: int = 16  # completions in one forward and backward pass; bounds memory
    warmup_share: float = 0.1  # of the steps
    lora: LoraSettings = field(default_factory=LoraSettings)
    dtype: str = "auto"
    load_in_4bit: bool = False
    checkpoint_steps: int = 25  # steps between checkpoints; 0: only when told to stop


@dataclass(frozen=True)
class RlooSettings(OnlineSettings):
    """`beta` weighs the KL of the whole completion (k1: the summed log-ratio), taken off its reward."""

    normalize_advantages: bool = False  # over the batch, to mean 0 and deviation 1


@dataclass(frozen=True)
class GrpoSettings(OnlineSettings):
    """`beta` weighs the KL of a token (k3; Schulman 2020, "Approximating KL divergence"), added to its loss."""

    beta: float = 0.04  # as in the paper
    scale_rewards: str = "group"  # by whose deviation advantages are divided: group, batch or none (Dr. GRPO)
    loss_type: str = "dapo"  # any of TRL's names: grpo, dapo, dr_grpo, bnpo, …


def train_online(
    prompts: Sequence[Sequence[Message]],
    terms: Sequence[Term],
    second_judge: Score | None,
    settings: RlooSettings | GrpoSettings,
    base: Path,
    parent_adapter: Path | None,
    out: Path,
    seed: int,
    on_metrics: OnMetrics | None = None,
    chat_template: str | None = None,
) -> TrainResult:
    """Train against the weighted sum of `terms` and leave the adapter in `out`, which must not exist.

    Besides TRL's figures (docs/training.md) the metrics have `reward`, the mean of the sum before the KL penalty;
    `term/NAME`, the mean of each term; and `second_reward`, the mean by the second judge, who scores the same
    completions and teaches nothing. Sample completions go into SAMPLES_FILE beside `out`. Raises PrefloopError without
    prompts or rewards, for settings that do not divide, and for prompts that do not fit the model's window.
    """
    if not prompts or not terms:
        raise PrefloopError("online training needs prompts and at least one reward; name one with --reward or --rule")
    completions = settings.prompts_per_step * settings.generations
    micro_batch = min(settings.micro_batch, completions)
    if completions % micro_batch:
        raise PrefloopError(
            f"micro_batch = {micro_batch} does not divide the {completions} completions of a step "
            f"(prompts_per_step × generations = {settings.prompts_per_step} × {settings.generations})"
        )
    if len(prompts) < settings.prompts_per_step:
        raise PrefloopError(
            f"there are {len(prompts)} prompts and prompts_per_step is {settings.prompts_per_step}; import more, or "
            "lower it"
        )
    started = time.monotonic()
    tokenizer = load_tokenizer(base, chat_template)
    model = load_policy(base, parent_adapter, settings.dtype, settings.load_in_4bit)
    _check_window(prompts, tokenizer, model, settings.max_new_tokens)
    stop_ids = LanguageModel(model, tokenizer, best_device()).stop_ids
    metrics = MetricsCallback(on_metrics)
    is_rloo = isinstance(settings, RlooSettings)
    with completion_only_head():
        trainer = (RLOOTrainer if is_rloo else GRPOTrainer)(
            model=model,
            reward_funcs=_reward_function(terms, second_judge, frozenset(stop_ids), out.with_name(SAMPLES_FILE)),
            args=_arguments(settings, micro_batch, out, seed),
            train_dataset=Dataset.from_list([{"prompt": list(each)} for each in _in_order(prompts, settings, seed)]),
            processing_class=tokenizer,
            peft_config=settings.lora.config(model, "CAUSAL_LM") if parent_adapter is None else None,
            callbacks=[metrics],
        )
    # TRL anchors a loaded adapter to a frozen copy of itself named "ref", and to the bare base when there is none.
    if settings.reference == "base" and "ref" in trainer.model.peft_config:
        trainer.model.delete_adapter("ref")
    return run_trainer(trainer, metrics, out, started)


def _in_order(prompts: Sequence[Sequence[Message]], settings: OnlineSettings, seed: int) -> list[Sequence[Message]]:
    """The prompts of all steps, pass after pass, each shuffled anew, as one epoch for TRL.

    TRL's sampler begins its shuffling anew in every process, so that a run resumed in its second pass would see other
    prompts than an undisturbed one.
    """
    draws = math.ceil(settings.steps / settings.updates_per_draw)
    wanted = draws * settings.prompts_per_step
    rng = random.Random(f"prompts {seed}")
    order: list[Sequence[Message]] = []
    while len(order) < wanted:
        order += rng.sample(prompts, len(prompts))
    return order[:wanted]


def _arguments(settings: RlooSettings | GrpoSettings, micro_batch: int, out: Path, seed: int) -> Any:
    """TRL's configuration: one draw of all completions, then `updates_per_draw` steps of the optimizer on them."""
    # Between draws only: the completions of a draw are not part of a checkpoint.
    checkpoint_steps = math.ceil(settings.checkpoint_steps / settings.updates_per_draw) * settings.updates_per_draw
    shared: dict[str, Any] = {
        **checkpoint_arguments(out, checkpoint_steps),
        "max_steps": settings.steps,
        "shuffle_dataset": False,
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": settings.prompts_per_step * settings.generations // micro_batch,
        "num_generations": settings.generations,
        "num_iterations": settings.updates_per_draw,
        "max_completion_length": settings.max_new_tokens,
        "temperature": settings.temperature,
        "beta": settings.beta,
        "epsilon": settings.clip,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": settings.warmup_share,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": seed,
        **machine_arguments(settings.dtype),
    }
    if isinstance(settings, RlooSettings):
        return RLOOConfig(normalize_advantages=settings.normalize_advantages, **shared)
    return GRPOConfig(scale_rewards=settings.scale_rewards, loss_type=settings.loss_type, **shared)


def _reward_function(
    terms: Sequence[Term], second_judge: Score | None, stop_ids: frozenset[int], samples: Path
) -> Callable[..., list[float]]:
    """The weighted sum as TRL calls it, once a draw; it also asks the second judge and keeps samples.

    TRL cuts `completion_ids` after the first token that ends a turn, so that the last id says whether one came.
    """
    resumed_at: int | None = None

    def reward(
        prompts: list[list[Message]],
        completions: list[list[Message]],
        completion_ids: list[list[int]],
        trainer_state: Any,
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float]:
        rows = [
            (messages, completion[0]["content"].strip(), ids[-1] in stop_ids)
            for messages, completion, ids in zip(prompts, completions, completion_ids, strict=True)
        ]
        totals, means = weigh(terms, rows)
        for name, mean in means.items():
            log_metric(f"term/{name}", mean)
        seconds = second_judge(rows) if second_judge is not None else None
        if seconds is not None:
            log_metric("second_reward", sum(seconds) / len(seconds))
        nonlocal resumed_at
        if resumed_at is None:
            resumed_at = trainer_state.global_step
            _forget_after(resumed_at, samples)
        with samples.open("a") as file:
            for index in range(0, len(rows), max(1, len(rows) // SAMPLES_A_STEP)):
                messages, text, ended = rows[index]
                line = {
                    "step": trainer_state.global_step + 1,  # of the update that learns from it
                    "messages": messages,
                    "text": text,
                    "ended": ended,
                    "reward": totals[index],
                    "second_reward": None if seconds is None else seconds[index],
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        return totals

    return reward


def _forget_after(step: int, samples: Path) -> None:
    """Drop the samples of later steps, which a run that was interrupted drew and now draws again."""
    if samples.exists():
        lines = samples.read_text().splitlines(keepends=True)
        samples.write_text("".join(line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step))


def _check_window(prompts: Sequence[Sequence[Message]], tokenizer: Any, model: Any, max_new_tokens: int) -> None:
    window = model.config.get_text_config().max_position_embeddings
    longest = max(prompts, key=lambda messages: len(prompt_ids(tokenizer, messages)))
    length = len(prompt_ids(tokenizer, longest))
    if length + max_new_tokens > window:
        raise PrefloopError(
            f"the prompt {longest[-1]['content'][:60]!r} has {length} tokens; with {max_new_tokens} new ones it does "
            f"not fit the model's window of {window}: shorten or retire it, or lower max_new_tokens"
        )
