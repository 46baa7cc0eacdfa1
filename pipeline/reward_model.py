"""A trained reward model: the base with a LoRA adapter and a score head, asked for scalar scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, set_seed

from .language_model import (
    Message,
    batches_of_like_length,
    best_device,
    completion_ids,
    load_tokenizer,
    prompt_ids,
    quiet_loading,
    resolve_dtype,
)
from .policy_model import four_bit_arguments


def classifier(
    base: Path, dtype: str, tokenizer: Any, seed: int, head_scale: float = 0.0, load_in_4bit: bool = False
) -> Any:
    """The base under a fresh score head with one output: normal weights of deviation head_scale / sqrt(width).

    0 makes it a zero head: every text scores alike at first, and all that comes to differ was learned. With a random
    one the first differences are noise, which a small set has few steps to outweigh.
    `seed` makes the head, and the adapter that is put on next, repeatable.
    """
    set_seed(seed)
    with quiet_loading():
        model = AutoModelForSequenceClassification.from_pretrained(
            base,
            num_labels=1,
            dtype=resolve_dtype(dtype),
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="eager",  # the fused kernel's backward is the slower one on CPU
            **four_bit_arguments(load_in_4bit, dtype),
        )
    torch.nn.init.normal_(model.score.weight, std=head_scale / model.score.in_features**0.5)
    # The head reads the last token that is not padding, so the two must agree on which token that is.
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    return model


def sequence_ids(tokenizer: Any, messages: Sequence[Message], text: str, ended: bool, max_length: int) -> list[int]:
    """Prompt and completion as the reward model reads them; a longer one loses its beginning, never its end."""
    return (prompt_ids(tokenizer, messages) + completion_ids(tokenizer, text, ended))[-max_length:]


@dataclass(frozen=True)
class RewardModel:
    model: Any
    tokenizer: Any
    max_length: int

    @classmethod
    def load(
        cls, base: Path, adapter: Path, dtype: str = "auto", chat_template: str | None = None, max_length: int = 512
    ) -> RewardModel:
        """Adapter and head from `adapter` on the base. Merged in float32, then cast."""
        tokenizer = load_tokenizer(base, chat_template)
        model = classifier(base, "float32", tokenizer, seed=0)
        model = PeftModel.from_pretrained(model, str(adapter), use_safetensors=True).merge_and_unload()
        model = model.to(device=best_device(), dtype=resolve_dtype(dtype)).eval().requires_grad_(False)
        return cls(model, tokenizer, max_length)

    def score(self, rows: Sequence[tuple[Sequence[Message], str, bool]], token_budget: int = 8_192) -> list[float]:
        """One score for each (messages, completion, ended); only differences within a prompt mean something."""
        encoded = [sequence_ids(self.tokenizer, m, text, ended, self.max_length) for m, text, ended in rows]
        return self.score_ids(encoded, token_budget)

    @torch.inference_mode()
    def score_ids(self, encoded: Sequence[list[int]], token_budget: int = 8_192) -> list[float]:
        """One score for each sequence of token ids, read at its last token."""
        scores = [0.0] * len(encoded)
        pad = self.tokenizer.pad_token_id
        for batch in batches_of_like_length([len(ids) for ids in encoded], token_budget):
            longest = len(encoded[batch[-1]])
            tokens = torch.tensor([encoded[i] + [pad] * (longest - len(encoded[i])) for i in batch])
            mask = torch.tensor([[1] * len(encoded[i]) + [0] * (longest - len(encoded[i])) for i in batch])
            logits = self.model(
                input_ids=tokens.to(self.model.device), attention_mask=mask.to(self.model.device), use_cache=False
            ).logits[:, 0]
            for index, value in zip(batch, logits.float().tolist(), strict=True):
                scores[index] = value
        return scores
