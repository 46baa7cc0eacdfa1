"""TRAIN: direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290, Eq. 7) with LoRA, through TRL.

The policy starts from the parent's adapter, or from a fresh one on the base. What the loss is anchored to is a
setting of its own, recorded with the run: `parent` is the policy as it starts, `base` the bare model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datasets import Dataset
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from .errors import PrefloopError
from .language_model import completion_ids, load_tokenizer, prompt_ids
from .lm_head import completion_only_head
from .pairs import PreferenceRow
from .policy_model import load_base, load_policy
from .trainer_checkpoints import checkpoint_arguments
from .training import LoraSettings, MetricsCallback, OnMetrics, TrainResult, machine_arguments, run_trainer

# All of TRL's but `sft`, which is no preference loss: `sft_weight` adds it to any of these.
LOSSES = (
    "sigmoid", "sigmoid_norm", "ipo", "hinge", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard",
    "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop",
)  # fmt: skip
# TRL takes the setting with every loss and lets the others ignore it, sigmoid among them.
LOSSES_WITH_LABEL_SMOOTHING = ("robust", "exo_pair", "aot", "aot_unpaired")


@dataclass(frozen=True)
class DpoSettings:
    """Settings of one DPO run; the defaults are those that docs/benchmarks.md found for the embedded model."""

    loss_type: str = "sigmoid"  # one of LOSSES
    beta: float = 0.1  # strength of the pull to the reference (IPO: its τ)
    label_smoothing: float = 0.0  # assumed share of wrong labels, 0 to 0.5; only for the losses that read it
    sft_weight: float = 0.0  # of the chosen text's mean negative log-likelihood (Pang et al. 2024); 0 is plain DPO
    reference: Literal["parent", "base"] = "base"
    learning_rate: float = 5e-4
    epochs: int = 2
    batch_size: int = 4  # pairs a step
    extrapolation: float = 0.5  # of a fresh adapter's way, gone on beyond the end of training; 0 stops there
    max_length: int = 512  # tokens, prompt + completion
    warmup_share: float = 0.1  # of the steps
    lora: LoraSettings = field(default_factory=LoraSettings)
    dtype: str = "auto"
    load_in_4bit: bool = False
    checkpoint_steps: int = 25  # steps between checkpoints; 0: only when told to stop


class EndOfTurnCollator(DataCollatorForPreference):  # type: ignore[misc]  # trl is not typed
    """TRL's collator, after cutting what the chat template appends to a completion that did not end by itself."""

    def __init__(self, eos_token_id: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.eos_token_id = eos_token_id

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        kept = [
            {
                **example,
                "chosen_ids": up_to_the_end(example["chosen_ids"], self.eos_token_id, example["chosen_ended"]),
                "rejected_ids": up_to_the_end(example["rejected_ids"], self.eos_token_id, example["rejected_ended"]),
            }
            for example in examples
        ]
        return dict(super().torch_call(kept))


def up_to_the_end(ids: list[int], eos_token_id: int, ended: bool) -> list[int]:
    """A completion as the chat template closed it, kept up to the end-of-turn token if it ended by itself.

    What follows the token is never generated. A completion that was cut off is kept without it.
    """
    for position in range(len(ids) - 1, -1, -1):
        if ids[position] == eos_token_id:
            return ids[: position + ended]
    return ids


def train_dpo(
    rows: Sequence[PreferenceRow],
    settings: DpoSettings,
    base: Path,
    parent_adapter: Path | None,
    out: Path,
    seed: int,
    on_metrics: OnMetrics | None = None,
    chat_template: str | None = None,
) -> TrainResult:
    """Train on `rows` and leave the adapter in `out`, which must not exist. Raises PrefloopError without rows."""
    if not rows:
        raise PrefloopError("DPO needs at least one decided pair and the snapshot has none; label more, or fewer ties")
    _refuse_what_cannot_work(settings)
    started = time.monotonic()
    tokenizer = load_tokenizer(base, chat_template)
    with_sft = settings.sft_weight > 0
    model = load_policy(base, parent_adapter, settings.dtype, settings.load_in_4bit)
    to_the_base = parent_adapter is not None and settings.reference == "base"
    metrics = MetricsCallback(on_metrics)
    with completion_only_head():
        trainer = DPOTrainer(
            model=model,
            # TRL anchors a loaded adapter to a frozen copy of itself, and a fresh one to the bare base.
            ref_model=load_base(base, settings.dtype, settings.load_in_4bit) if to_the_base else None,
            args=DPOConfig(
                **checkpoint_arguments(out, settings.checkpoint_steps),
                loss_type=[settings.loss_type, "sft"] if with_sft else [settings.loss_type],
                loss_weights=[1.0, settings.sft_weight] if with_sft else None,
                beta=settings.beta,
                label_smoothing=settings.label_smoothing,
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
                **machine_arguments(settings.dtype),
            ),
            data_collator=EndOfTurnCollator(
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                max_length=settings.max_length,
            ),
            train_dataset=Dataset.from_list([_example(row, tokenizer) for row in rows]),
            processing_class=tokenizer,
            peft_config=settings.lora.config(model, "CAUSAL_LM") if parent_adapter is None else None,
            callbacks=[metrics],
        )
    # From a parent's adapter the way began elsewhere, and a DoRA adapter is not linear in its weights.
    linear = parent_adapter is None and settings.lora.variant != "dora"
    # Beyond where training ends, θ₁ + α (θ₁ − θ₀): model extrapolation (Zheng et al. 2024, arXiv:2404.16792). θ₀ is the
    # bare base, so that it is for fresh adapters alone; their update is scale · B A, which with B grows as a whole.
    scaled = {".lora_B.default.": 1 + settings.extrapolation} if linear else {}
    return run_trainer(trainer, metrics, out, started, scaled)


def _refuse_what_cannot_work(settings: DpoSettings) -> None:
    loss, smoothing = settings.loss_type, settings.label_smoothing
    if loss not in LOSSES:
        raise PrefloopError(
            f"dpo.loss_type = {loss!r} is no loss that learns from pairs; use one of {', '.join(LOSSES)}"
        )
    if smoothing and loss not in LOSSES_WITH_LABEL_SMOOTHING:
        raise PrefloopError(
            f"dpo.label_smoothing = {smoothing} would change nothing: the loss {loss} does not read it; "
            f"set it to 0, or dpo.loss_type to one of {', '.join(LOSSES_WITH_LABEL_SMOOTHING)}"
        )
    if loss == "exo_pair" and not smoothing:
        raise PrefloopError("dpo.loss_type exo_pair needs dpo.label_smoothing above 0 (its ε); 0.001 is close to none")


def _example(row: PreferenceRow, tokenizer: Any) -> dict[str, Any]:
    """TRL's columns; `*_ended` for the collator, and `length` in tokens for the sampler."""
    completions = (completion_ids(tokenizer, text, True) for text in (row.chosen, row.rejected))
    return {
        "length": len(prompt_ids(tokenizer, row.messages)) + max(map(len, completions)),
        "prompt": list(row.messages),
        "chosen": [{"role": "assistant", "content": row.chosen}],
        "rejected": [{"role": "assistant", "content": row.rejected}],
        "chosen_ended": row.chosen_ended,
        "rejected_ended": row.rejected_ended,
    }
