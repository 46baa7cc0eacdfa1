"""A trained reward model: the base with a LoRA adapter and a score head, asked for scalar scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForSequenceClassification, set_seed
from transformers.modeling_outputs import SequenceClassifierOutput

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

NEUTRAL_TOKENS = 4
LAST_TOKEN = 0.5  # weight of the last token's state beside the mean of all
# Recorded with each run: a model is asked in the way in which it was trained.
READS = f"mean and {LAST_TOKEN:g} of the last, of the upper half of the layers; {NEUTRAL_TOKENS} neutral tokens"


def classifier(
    base: Path,
    dtype: str,
    tokenizer: Any,
    seed: int,
    head_scale: float = 0.0,
    load_in_4bit: bool = False,
    head_rate: float = 1.0,
) -> Any:
    """The base under a fresh score head with one output: normal weights of deviation head_scale / sqrt(width).

    0 makes it a zero head: every text scores alike at first, and all that comes to differ was learned. With a random
    one the first differences are noise, which a small set has few steps to outweigh.
    `seed` makes the head, and the adapter that is put on next, repeatable.

    Scores are what the head says times `head_rate`: Adam moves a weight by about the learning rate a step, and a head
    that counts ten times needs to move a tenth as far. Who saves it multiplies the head by as much.
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
    model.score.float()  # its updates are smaller than bfloat16 resolves
    torch.nn.init.normal_(model.score.weight, std=head_scale / head_rate / model.score.in_features**0.5)
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    read_the_answer(model, head_rate)
    return model


def read_the_answer(model: Any, head_rate: float = 1.0) -> None:
    """Let `model(input_ids, attention_mask, answer_mask)` score the answer by `states_read` and `score_of`.

    What the class itself does is read the last state of the last token alone, of which a reward model learns far less
    from few pairs (docs/benchmarks.md). With `states`, (B, S, H), these are read and no others.
    """

    def forward(
        answer_mask: Tensor,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        states: Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        if states is None:
            states = states_read(model.base_model, input_ids=input_ids, attention_mask=attention_mask)
        return SequenceClassifierOutput(logits=head_rate * score_of(states, answer_mask, model.score.weight))

    model.forward = forward


def states_read(decoder: Any, **inputs: Tensor | None) -> Tensor:
    """(B, S, H), float32: what a score is read off, from what `decoder` makes of these inputs."""
    return mean_of_upper_half(decoder(**inputs, use_cache=False, output_hidden_states=True).hidden_states)


def mean_of_upper_half(states_of_layers: Sequence[Tensor]) -> Tensor:
    """(B, S, H), float32: the mean of the upper half of the layers' states, each at a root mean square over H of 1."""
    upper = states_of_layers[len(states_of_layers) // 2 :]
    with torch.autocast(upper[0].device.type, enabled=False):
        total = torch.zeros_like(upper[0], dtype=torch.float32)
        for state in map(Tensor.float, upper):  # one at a time: all of them in float32 are large
            total = total + state / (state.pow(2).mean(-1, keepdim=True).sqrt() + 1e-6)
        return total / len(upper)


def score_of(hidden_B_S_H: Tensor, answer_mask_B_S: Tensor, weight_1_H: Tensor) -> Tensor:
    """(B, 1): the head on the answer's hidden states in the sum that `weights_of` makes of them, in float32."""
    with torch.autocast(hidden_B_S_H.device.type, enabled=False):
        read_B_H = torch.einsum("bsh,bs->bh", hidden_B_S_H.float(), weights_of(answer_mask_B_S))
        return torch.nn.functional.linear(read_B_H, weight_1_H.float())


def weights_of(answer_mask_B_S: Tensor) -> Tensor:
    """(B, S), float32: how much each token's state counts: the mean over the answer's n, and half of the last one more.

    The last token has seen the answer whole, and the mean is read off many states where that is read off one: together
    they tell real pairs apart better than either (docs/benchmarks.md).

    Both are taken times n / (n + `NEUTRAL_TOKENS`), which pulls an answer of few tokens to the score 0, and
    `center_coefficient` makes that the one of an ordinary answer. An empty one is a lone end-of-turn token, of which no
    pair says anything, because it stands on both sides of all: else its score would be whatever training left there.
    """
    mask_B_S = answer_mask_B_S.float()
    length_B_1 = mask_B_S.sum(1, keepdim=True)
    last_B_S = mask_B_S - mask_B_S * torch.nn.functional.pad(mask_B_S[:, 1:], (0, 1))
    return (mask_B_S + LAST_TOKEN * length_B_1 * last_B_S) / (length_B_1 + NEUTRAL_TOKENS)


@dataclass(frozen=True)
class Encoded:
    """Prompt and answer as the reward model reads them. An answer of no token is read where it would begin."""

    ids: list[int]
    answer: int  # tokens at the end that are scored, at least one


def encode(tokenizer: Any, messages: Sequence[Message], text: str, ended: bool, max_length: int) -> Encoded:
    """A text of more than `max_length` tokens loses its beginning, never its end."""
    answer = completion_ids(tokenizer, text, ended)
    ids = (prompt_ids(tokenizer, messages) + answer)[-max_length:]
    return Encoded(ids, min(max(len(answer), 1), len(ids)))


def padded(rows: Sequence[Encoded], pad_id: int) -> dict[str, Tensor]:
    """`input_ids`, `attention_mask` and `answer_mask`, (B, S) each, padded on the right."""
    lengths = torch.tensor([len(row.ids) for row in rows])[:, None]
    answers = torch.tensor([row.answer for row in rows])[:, None]
    longest = int(lengths.max())
    positions = torch.arange(longest)
    return {
        "input_ids": torch.tensor([row.ids + [pad_id] * (longest - len(row.ids)) for row in rows]),
        "attention_mask": (positions < lengths).long(),
        "answer_mask": ((positions >= lengths - answers) & (positions < lengths)).long(),
    }


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
        model.score.float()
        return cls(model, tokenizer, max_length)

    @torch.inference_mode()
    def score(self, rows: Sequence[tuple[Sequence[Message], str, bool]], token_budget: int = 8_192) -> list[float]:
        """One score for each (messages, completion, ended); only differences within a prompt mean something."""
        encoded = [encode(self.tokenizer, m, text, ended, self.max_length) for m, text, ended in rows]
        scores = [0.0] * len(rows)
        for batch in batches_of_like_length([len(row.ids) for row in encoded], token_budget):
            inputs = padded([encoded[i] for i in batch], self.tokenizer.pad_token_id)
            logits = self.model(**{name: value.to(self.model.device) for name, value in inputs.items()}).logits[:, 0]
            for index, value in zip(batch, logits.tolist(), strict=True):
                scores[index] = value
        return scores
