"""TRAIN: Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv:2402.01306) with LoRA, through TRL.

It learns from single answers that were found good or bad, so thumbs are enough and nobody has to compare. What the
policy is anchored to is a setting, as in train_dpo.py.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl import KTOConfig, KTOTrainer
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

from .errors import PrefloopError
from .language_model import completion_ids, load_tokenizer, prompt_ids
from .lm_head import completion_only_head
from .policy_model import load_base, load_policy
from .thumbs import ThumbRow
from .train_dpo import up_to_the_end
from .trainer_checkpoints import checkpoint_arguments
from .training import LoraSettings, MetricsCallback, OnMetrics, TrainResult, machine_arguments, run_trainer

LOSSES = ("kto", "apo_zero_unpaired")


@dataclass(frozen=True)
class KtoSettings:
    """Settings of one KTO run."""

    loss_type: str = "kto"  # or apo_zero_unpaired, which estimates no KL and is a forward pass cheaper
    beta: float = 0.1  # strength of the pull to the reference
    reference: Literal["parent", "base"] = "parent"
    learning_rate: float = 5e-4
    epochs: int = 2
    batch_size: int = 8  # answers a step, at least 2: the KL is estimated across the answers of a batch
    max_length: int = 512  # tokens, prompt + completion
    warmup_share: float = 0.1  # of the steps
    lora: LoraSettings = field(default_factory=LoraSettings)
    dtype: str = "auto"
    load_in_4bit: bool = False
    checkpoint_steps: int = 25  # steps between checkpoints; 0: only when told to stop


class EndOfTurnCollator(DataCollatorForUnpairedPreference):  # type: ignore[misc]  # trl is not typed
    """TRL's collator, after cutting what the chat template appends to a completion that did not end by itself."""

    def __init__(self, eos_token_id: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.eos_token_id = eos_token_id

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        def ended(ids: list[int], does: bool) -> list[int]:
            return up_to_the_end(ids, self.eos_token_id, does)

        kept = [{**row, "completion_ids": ended(row["completion_ids"], row["ended"])} for row in examples]
        if "KL_completion_ids" in examples[0]:
            # TRL gives each row the completion of the row before it in the batch, and the first that of the last.
            for number, row in enumerate(kept):
                row["KL_completion_ids"] = ended(row["KL_completion_ids"], examples[number - 1]["ended"])
        return dict(super().torch_call(kept))


def train_kto(
    rows: Sequence[ThumbRow],
    settings: KtoSettings,
    base: Path,
    parent_adapter: Path | None,
    out: Path,
    seed: int,
    on_metrics: OnMetrics | None = None,
    chat_template: str | None = None,
) -> TrainResult:
    """Train on `rows` and leave the adapter in `out`, which must not exist.

    The summary has the rows' counts `good` and `bad`, and the weights that follow from them. Raises PrefloopError
    unless there are both.
    """
    good = sum(row.good for row in rows)
    _refuse_what_cannot_work(settings, good, len(rows) - good)
    started = time.monotonic()
    tokenizer = load_tokenizer(base, chat_template)
    weight_good, weight_bad = weights(good, len(rows) - good)
    model = load_policy(base, parent_adapter, settings.dtype, settings.load_in_4bit)
    to_the_base = parent_adapter is not None and settings.reference == "base"
    metrics = MetricsCallback(on_metrics)
    with completion_only_head():
        trainer = KTOTrainer(
            model=model,
            # TRL anchors a loaded adapter to a frozen copy of itself, and a fresh one to the bare base.
            ref_model=load_base(base, settings.dtype, settings.load_in_4bit) if to_the_base else None,
            args=KTOConfig(
                **checkpoint_arguments(out, settings.checkpoint_steps),
                loss_type=settings.loss_type,
                beta=settings.beta,
                desirable_weight=weight_good,
                undesirable_weight=weight_bad,
                learning_rate=settings.learning_rate,
                num_train_epochs=settings.epochs,
                per_device_train_batch_size=settings.batch_size,
                max_length=settings.max_length,
                warmup_steps=settings.warmup_share,
                precompute_ref_log_probs=True,
                precompute_ref_batch_size=settings.batch_size,
                logging_steps=1,
                report_to="none",
                disable_tqdm=True,
                seed=seed,
                # The KL of a batch is estimated from its own completions, exchanged beforehand: its order is fixed.
                **{**machine_arguments(settings.dtype), "train_sampling_strategy": "sequential"},
            ),
            data_collator=EndOfTurnCollator(
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                max_length=settings.max_length,
            ),
            train_dataset=Dataset.from_list(_in_order(rows, tokenizer, settings.batch_size, seed)),
            processing_class=tokenizer,
            peft_config=settings.lora.config(model, "CAUSAL_LM") if parent_adapter is None else None,
            callbacks=[metrics],
        )
    result = run_trainer(trainer, metrics, out, started)
    figures = {"good": good, "bad": len(rows) - good, "weight_good": weight_good, "weight_bad": weight_bad}
    return dataclasses.replace(result, summary={**result.summary, **figures})


def weights(good: int, bad: int) -> tuple[float, float]:
    """Weights of good and bad answers with which both kinds count the same in all; the rarer kind's is above 1.

    The lower end of what the paper recommends: weight × count of the good over that of the bad in [1, 4/3] (Eq. 8).
    """
    return max(1.0, bad / good), max(1.0, good / bad)


def _refuse_what_cannot_work(settings: KtoSettings, good: int, bad: int) -> None:
    if not good or not bad:
        raise PrefloopError(
            f"KTO needs good and bad answers, and the snapshot has {good} good and {bad} bad; label more"
        )
    if settings.loss_type not in LOSSES:
        raise PrefloopError(f"kto.loss_type = {settings.loss_type!r} is no loss of KTO; use {' or '.join(LOSSES)}")
    if settings.loss_type == "kto" and settings.batch_size < 2:
        raise PrefloopError(
            "kto.batch_size = 1 leaves nothing to estimate the KL from; use 2 or more, or loss_type apo_zero_unpaired"
        )


def _in_order(rows: Sequence[ThumbRow], tokenizer: Any, batch_size: int, seed: int) -> list[dict[str, Any]]:
    """TRL's columns and `ended` for the collator; shuffled so that rows of like length share a batch."""
    lengths = [
        len(prompt_ids(tokenizer, row.messages)) + len(completion_ids(tokenizer, row.completion, row.ended))
        for row in rows
    ]
    order = get_length_grouped_indices(lengths, batch_size, generator=torch.Generator().manual_seed(seed))
    return [
        {
            "prompt": list(rows[index].messages),
            "completion": [{"role": "assistant", "content": rows[index].completion}],
            "label": rows[index].good,
            "ended": rows[index].ended,
        }
        for index in order
    ]
