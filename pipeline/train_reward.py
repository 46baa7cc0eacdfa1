"""TRAIN: a reward model, a LoRA adapter and a score head on the base (Bradley-Terry loss; Ouyang et al. 2022,
arXiv:2203.02155, Eq. 1), through TRL's RewardTrainer.

Pairs are tokenized here, in the way in which `reward_model.RewardModel` scores: what is trained is what is asked.

How clear a preference was comes in as a margin (Touvron et al. 2023, arXiv:2307.09288, Eq. 2), for which RewardTrainer
has a column. Soft labels would need a loss of our own, which the trainer has no place for, or every vote as a row of
its own, at the price of as many passes.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from trl import RewardConfig, RewardTrainer

from .errors import PrefloopError
from .language_model import load_tokenizer
from .pairs import PreferenceRow
from .prefix_sharing import Pair, can_share, in_least_memory, line_length, one_by_one, read_side_by_side
from .reward_model import Encoded, RewardModel, classifier, encode
from .trainer_checkpoints import checkpoint_arguments
from .training import LoraSettings, MetricsCallback, OnMetrics, TrainResult, machine_arguments, run_trainer


@dataclass(frozen=True)
class RewardSettings:
    """Settings of one reward-model run; the defaults are those that docs/benchmarks.md found."""

    learning_rate: float = 5e-4
    epochs: int = 2
    batch_size: int = 8  # pairs a step
    micro_batch_size: int = 4  # pairs in one pass through the model; bounds memory
    max_length: int = 512  # tokens, prompt + completion; longer sequences lose their beginning
    center_coefficient: float = 0.01  # pulls the mean reward to 0 (Eisenstein et al. 2023, arXiv:2312.09244)
    margin_scale: float = 1.0  # of the margins from votes and strength; 0 switches them off
    head_rate: float = 10.0  # learning rate of the score head, in units of the adapter's
    head_scale: float = 0.0  # of the score head's first random weights, in units of 1 / sqrt(width); 0 is a zero head
    weight_decay: float = 0.0  # of adapter and head, AdamW's
    lora: LoraSettings = field(default_factory=LoraSettings)
    dtype: str = "auto"
    load_in_4bit: bool = False
    checkpoint_steps: int = 25  # steps between checkpoints; 0: only when told to stop


def train_reward(
    rows: Sequence[PreferenceRow],
    heldout: Sequence[PreferenceRow],
    settings: RewardSettings,
    base: Path,
    out: Path,
    seed: int,
    on_metrics: OnMetrics | None = None,
    chat_template: str | None = None,
) -> TrainResult:
    """Train on `rows`, leave adapter and head in `out`, and measure the accuracy on `heldout` as it will be used.

    The summary has `heldout_accuracy` (share of pairs whose chosen text scores higher; None without held-out pairs)
    and `heldout_pairs`. Raises PrefloopError without rows, and for a batch that its micro-batches do not fill.
    """
    if not rows:
        raise PrefloopError("a reward model needs at least one decided pair and the snapshot has none; label more")
    started = time.monotonic()
    arguments = _arguments(settings, out, seed)
    tokenizer = load_tokenizer(base, chat_template)
    pairs = [_encoded(tokenizer, row, settings.max_length) for row in rows]
    model = classifier(
        base, settings.dtype, tokenizer, seed, settings.head_scale, settings.load_in_4bit, settings.head_rate
    )
    shared = can_share(model, max(pairs, key=line_length), tokenizer.pad_token_id)
    if shared:
        read_side_by_side(model)
    metrics = MetricsCallback(on_metrics)
    trainer = RewardTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(
            [_example(pair, settings.margin_scale * margin(row)) for row, pair in zip(rows, pairs, strict=True)]
        ),
        data_collator=partial(_collate, shared, tokenizer.pad_token_id, settings.max_length),
        processing_class=tokenizer,
        peft_config=settings.lora.config(model, "SEQ_CLS", modules_to_save=["score"]),
        callbacks=[metrics],
    )
    result = run_trainer(trainer, metrics, out, started, {".score.modules_to_save.": settings.head_rate})
    accuracy = heldout_accuracy(
        RewardModel.load(base, out, settings.dtype, chat_template, settings.max_length), heldout
    )
    summary = {**result.summary, "heldout_accuracy": accuracy, "heldout_pairs": len(heldout)}
    return dataclasses.replace(result, summary=summary, seconds=time.monotonic() - started)


def _encoded(tokenizer: Any, row: PreferenceRow, max_length: int) -> Pair:
    return (
        encode(tokenizer, row.messages, row.chosen, row.chosen_ended, max_length),
        encode(tokenizer, row.messages, row.rejected, row.rejected_ended, max_length),
    )


def _example(pair: Pair, margin_: float) -> dict[str, Any]:
    """A row of the trainer's dataset: it takes one with `chosen_ids` and `rejected_ids` as tokenized."""
    chosen, rejected = pair
    return {
        "chosen_ids": chosen.ids,
        "rejected_ids": rejected.ids,
        "answers": [chosen.answer, rejected.answer],
        "margin": margin_,
        "length": line_length(pair),
    }


def _collate(shared: bool, pad_id: int, max_length: int, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """As TRL's collator: what it gives is scored as all chosen and then all rejected texts."""
    pairs = [(Encoded(e["chosen_ids"], e["answers"][0]), Encoded(e["rejected_ids"], e["answers"][1])) for e in examples]
    texts = in_least_memory(pairs, pad_id, max_length) if shared else one_by_one(pairs, pad_id)
    return {**texts, "margin": torch.tensor([e["margin"] for e in examples])}


def _arguments(settings: RewardSettings, out: Path, seed: int) -> RewardConfig:
    micro_batch = min(settings.micro_batch_size, settings.batch_size)
    if settings.batch_size % micro_batch:
        raise PrefloopError(
            f"reward.micro_batch_size = {micro_batch} does not divide reward.batch_size = {settings.batch_size}; "
            "make the one a multiple of the other"
        )
    return RewardConfig(
        **checkpoint_arguments(out, settings.checkpoint_steps),
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=settings.batch_size // micro_batch,
        max_length=None,  # `encode` has cut
        center_rewards_coefficient=settings.center_coefficient or None,
        weight_decay=settings.weight_decay,
        warmup_steps=0.1,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        seed=seed,
        **machine_arguments(settings.dtype),
    )


def margin(row: PreferenceRow) -> float:
    """By how much the chosen text should outscore the rejected one, in nats, compared with a plain vote: that has 0.

    The log-odds of the chosen side after its votes, with one imaginary vote on either side, less those of a single
    vote: log((v₊ + 1) / (v₋ + 1)) − log 2. Each step of mean strength away from "clear" adds or takes log 2. So one
    vote without a strength trains by the plain Bradley-Terry loss, an undisputed or strong preference asks for more,
    and a contested or slight one for less.
    """
    votes = math.log((row.votes_chosen + 1) / (row.votes_rejected + 1)) - math.log(2)
    return votes + (0.0 if row.strength is None else (row.strength - 2) * math.log(2))


def heldout_accuracy(model: RewardModel, rows: Sequence[PreferenceRow]) -> float | None:
    """Share of pairs whose chosen text scores higher; equal scores count half. None without pairs."""
    if not rows:
        return None
    texts = [(r.messages, r.chosen, r.chosen_ended) for r in rows] + [
        (r.messages, r.rejected, r.rejected_ended) for r in rows
    ]
    scores = model.score(texts)
    pairs = zip(scores[: len(rows)], scores[len(rows) :], strict=True)
    return sum(1.0 if c > r else 0.5 if c == r else 0.0 for c, r in pairs) / len(rows)
