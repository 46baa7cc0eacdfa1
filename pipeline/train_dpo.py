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
from peft import PeftModel
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from .errors import PrefloopError
from .language_model import completion_ids, load_tokenizer, prompt_ids, quiet_loading, resolve_dtype
from .lm_head import completion_only_head
from .pairs import PreferenceRow
from .trainer_checkpoints import checkpoint_arguments
from .training import LoraSettings, MetricsCallback, OnMetrics, TrainResult, machine_arguments, run_trainer

# TRL takes the setting with every loss and lets the others ignore it, sigmoid among them.
LOSSES_WITH_LABEL_SMOOTHING = ("robust", "exo_pair", "aot", "aot_unpaired")


@dataclass(frozen=True)
class DpoSettings:
    """Settings of one DPO run; the defaults are those that docs/benchmarks.md found for the embedded model."""

    loss_type: str = "sigmoid"  # any of TRL's names: sigmoid, ipo, hinge, robust, …
    beta: float = 0.1  # strength of the pull to the reference (IPO: its τ)
    label_smoothing: float = 0.0  # assumed share of wrong labels, 0 to 0.5; only for the losses that read it
    sft_weight: float = 0.0  # of the chosen text's mean negative log-likelihood (Pang et al. 2024); 0 is plain DPO
    reference: Literal["parent", "base"] = "parent"
    learning_rate: float = 1e-3
    epochs: int = 2
    batch_size: int = 4  # pairs a step
    max_length: int = 512  # tokens, prompt + completion
    warmup_share: float = 0.1  # of the steps
    lora: LoraSettings = field(default_factory=LoraSettings)
    dtype: str = "auto"
    checkpoint_steps: int = 25  # steps between checkpoints; 0: only when told to stop


class EndOfTurnCollator(DataCollatorForPreference):  # type: ignore[misc]  # trl is not typed
    """TRL's collator, after cutting what the chat template appends to a completion that did not end by itself.

    The template closes every assistant turn. Kept up to and including the end-of-turn token if the completion ended
    (what follows it is never generated), and without the token if it was cut off.
    """

    def __init__(self, eos_token_id: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.eos_token_id = eos_token_id

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        kept = [
            {
                **example,
                "chosen_ids": self._end(example["chosen_ids"], example["chosen_ended"]),
                "rejected_ids": self._end(example["rejected_ids"], example["rejected_ended"]),
            }
            for example in examples
        ]
        return dict(super().torch_call(kept))

    def _end(self, ids: list[int], ended: bool) -> list[int]:
        for position in range(len(ids) - 1, -1, -1):
            if ids[position] == self.eos_token_id:
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
    if settings.label_smoothing and settings.loss_type not in LOSSES_WITH_LABEL_SMOOTHING:
        raise PrefloopError(
            f"dpo.label_smoothing = {settings.label_smoothing} would change nothing: the loss {settings.loss_type} "
            f"does not read it; set it to 0, or dpo.loss_type to one of {', '.join(LOSSES_WITH_LABEL_SMOOTHING)}"
        )
    started = time.monotonic()
    tokenizer = load_tokenizer(base, chat_template)
    with_sft = settings.sft_weight > 0
    dtype = resolve_dtype(settings.dtype)

    def base_model() -> Any:
        with quiet_loading():
            return AutoModelForCausalLM.from_pretrained(
                base,
                dtype=dtype,
                trust_remote_code=False,
                use_safetensors=True,
                attn_implementation="eager",  # the fused kernel's backward is the slower one on CPU
            )

    model = base_model()
    if parent_adapter is not None:
        model = PeftModel.from_pretrained(model, str(parent_adapter), is_trainable=True, use_safetensors=True)
    metrics = MetricsCallback(on_metrics)
    with completion_only_head():
        trainer = DPOTrainer(
            model=model,
            # TRL anchors a loaded adapter to a frozen copy of itself, and a fresh one to the bare base.
            ref_model=base_model() if parent_adapter is not None and settings.reference == "base" else None,
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
    return run_trainer(trainer, metrics, out, started)


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
