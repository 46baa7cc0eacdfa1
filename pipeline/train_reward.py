"""TRAIN: a reward model, a LoRA adapter and a score head on the base (Bradley-Terry loss; Ouyang et al. 2022,
arXiv:2203.02155, Eq. 1), through TRL's RewardTrainer.

Pairs are tokenized here, in the way in which `reward_model.RewardModel` scores: what is trained is what is asked.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset
from trl import RewardConfig, RewardTrainer

from .errors import PrefloopError
from .language_model import load_tokenizer
from .pairs import PreferenceRow
from .reward_model import RewardModel, classifier, sequence_ids
from .trainer_checkpoints import checkpoint_arguments
from .training import LoraSettings, MetricsCallback, OnMetrics, TrainResult, machine_arguments, run_trainer


@dataclass(frozen=True)
class RewardSettings:
    """Settings of one reward-model run; the defaults are those that docs/benchmarks.md found."""

    learning_rate: float = 5e-4
    epochs: int = 2
    batch_size: int = 8  # pairs a step
    max_length: int = 512  # tokens, prompt + completion; longer sequences lose their beginning
    center_coefficient: float = 0.01  # pulls the mean reward to 0 (Eisenstein et al. 2023, arXiv:2312.09244)
    lora: LoraSettings = field(default_factory=LoraSettings)
    dtype: str = "auto"
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
    and `heldout_pairs`. Raises PrefloopError without rows.
    """
    if not rows:
        raise PrefloopError("a reward model needs at least one decided pair and the snapshot has none; label more")
    started = time.monotonic()
    tokenizer = load_tokenizer(base, chat_template)

    def example(row: PreferenceRow) -> dict[str, Any]:
        chosen = sequence_ids(tokenizer, row.messages, row.chosen, row.chosen_ended, settings.max_length)
        rejected = sequence_ids(tokenizer, row.messages, row.rejected, row.rejected_ended, settings.max_length)
        return {"chosen_ids": chosen, "rejected_ids": rejected, "length": max(len(chosen), len(rejected))}

    model = classifier(base, settings.dtype, tokenizer, seed)
    metrics = MetricsCallback(on_metrics)
    trainer = RewardTrainer(
        model=model,
        args=RewardConfig(
            **checkpoint_arguments(out, settings.checkpoint_steps),
            learning_rate=settings.learning_rate,
            num_train_epochs=settings.epochs,
            per_device_train_batch_size=settings.batch_size,
            max_length=None,  # cut above
            center_rewards_coefficient=settings.center_coefficient or None,
            warmup_steps=0.1,
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
            seed=seed,
            **machine_arguments(settings.dtype),
        ),
        train_dataset=Dataset.from_list([example(row) for row in rows]),
        processing_class=tokenizer,
        peft_config=settings.lora.config(model, "SEQ_CLS", modules_to_save=["score"]),
        callbacks=[metrics],
    )
    result = run_trainer(trainer, metrics, out, started)
    accuracy = heldout_accuracy(
        RewardModel.load(base, out, settings.dtype, chat_template, settings.max_length), heldout
    )
    summary = {**result.summary, "heldout_accuracy": accuracy, "heldout_pairs": len(heldout)}
    return dataclasses.replace(result, summary=summary, seconds=time.monotonic() - started)


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
