"""TRAIN: supervised fine-tuning with LoRA, through TRL: on answers that people wrote, or on plain text.

A demonstration is learned token by token, the prompt is read only (its labels are masked). A document is learned from
its first token to its last; documents are joined by the end-of-turn token and cut into pieces of `max_length`, across
their borders, so that no position is padding. Everything is tokenized here, in the way in which the model is asked.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from .demonstrations import DemonstrationRow
from .errors import PrefloopError
from .language_model import completion_ids, load_tokenizer, prompt_ids
from .lm_head import completion_only_head
from .policy_model import load_policy
from .texts import TextRow
from .trainer_checkpoints import checkpoint_arguments
from .training import LoraSettings, MetricsCallback, OnMetrics, TrainResult, machine_arguments, run_trainer

_MASKED = -100  # the label of a token that is read and not learned


@dataclass(frozen=True)
class SftSettings:
    """Settings of one run of supervised fine-tuning."""

    learning_rate: float = 5e-4
    epochs: int = 2
    batch_size: int = 8  # demonstrations, or pieces of text, a step
    max_length: int = 512  # tokens, prompt + answer; also of a piece of text
    warmup_share: float = 0.1  # of the steps
    lora: LoraSettings = field(default_factory=LoraSettings)
    dtype: str = "auto"
    load_in_4bit: bool = False
    checkpoint_steps: int = 25  # steps between checkpoints; 0: only when told to stop


def train_sft(
    rows: Sequence[DemonstrationRow] | Sequence[TextRow],
    settings: SftSettings,
    base: Path,
    parent_adapter: Path | None,
    out: Path,
    seed: int,
    on_metrics: OnMetrics | None = None,
    chat_template: str | None = None,
) -> TrainResult:
    """Train on `rows` and leave the adapter in `out`, which must not exist.

    The summary has `too_long`: demonstrations left out because their prompt alone fills `max_length`. Raises
    PrefloopError where no row is left.
    """
    started = time.monotonic()
    tokenizer = load_tokenizer(base, chat_template)
    texts = [row.text for row in rows if isinstance(row, TextRow)]
    answers = [demonstration(tokenizer, row, settings.max_length) for row in rows if isinstance(row, DemonstrationRow)]
    fitting = [example for example in answers if any(label != _MASKED for label in example["labels"])]
    too_long = len(answers) - len(fitting)
    examples = fitting + pieces(tokenizer, texts, settings.max_length)
    if not examples:
        raise PrefloopError(
            f"SFT has nothing to learn from: of {len(rows)} rows {too_long} have a prompt that fills sft.max_length = "
            f"{settings.max_length} tokens; raise it, or have answers written in a queue of kind demonstration or edit"
        )
    model = load_policy(base, parent_adapter, settings.dtype, settings.load_in_4bit)
    metrics = MetricsCallback(on_metrics)
    with completion_only_head():
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                **checkpoint_arguments(out, settings.checkpoint_steps),
                learning_rate=settings.learning_rate,
                num_train_epochs=settings.epochs,
                per_device_train_batch_size=settings.batch_size,
                max_length=None,  # cut above
                warmup_steps=settings.warmup_share,
                logging_steps=1,
                report_to="none",
                disable_tqdm=True,
                seed=seed,
                **machine_arguments(settings.dtype),
            ),
            train_dataset=Dataset.from_list(examples),
            processing_class=tokenizer,
            peft_config=settings.lora.config(model, "CAUSAL_LM") if parent_adapter is None else None,
            callbacks=[metrics],
        )
    result = run_trainer(trainer, metrics, out, started)
    return dataclasses.replace(result, summary={**result.summary, "too_long": too_long})


def demonstration(tokenizer: Any, row: DemonstrationRow, max_length: int) -> dict[str, Any]:
    """Token ids of prompt and answer, the prompt's labels masked. What is over `max_length` is cut from the end."""
    prompt = prompt_ids(tokenizer, row.messages)
    answer = completion_ids(tokenizer, row.text, row.ended)
    ids = (prompt + answer)[:max_length]
    return {"input_ids": ids, "labels": ([_MASKED] * len(prompt) + answer)[:max_length], "length": len(ids)}


def pieces(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[dict[str, Any]]:
    """The documents, each closed by the end-of-turn token, as one stream in pieces of `max_length` tokens.

    The last piece is as long as what remains, and left out if it is a single token, which predicts nothing.
    """
    stream: list[int] = []
    for text in texts:
        stream += completion_ids(tokenizer, text, ended=True)
    cut = [stream[start : start + max_length] for start in range(0, len(stream), max_length)]
    return [{"input_ids": ids, "labels": ids, "length": len(ids)} for ids in cut if len(ids) > 1]
