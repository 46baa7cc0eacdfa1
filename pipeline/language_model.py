"""A language model as the stages use it: base weights, an optional LoRA adapter, a tokenizer with a chat template.

Adapters are merged into the base in float32 before the cast to the working precision: generation then runs at the
speed of the bare base, and weights are rounded once. Safetensors only; remote code is never run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from .errors import PrefloopError

Message = dict[str, str]


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model ready for generation and scoring."""

    model: Any  # transformers' PreTrainedModel
    tokenizer: Any  # transformers' PreTrainedTokenizerBase
    device: torch.device

    @property
    def stop_ids(self) -> list[int]:
        """Token ids that end a completion: the tokenizer's eos and the generation config's."""
        ids = {self.tokenizer.eos_token_id}
        configured = self.model.generation_config.eos_token_id
        ids.update(configured if isinstance(configured, list) else [configured])
        return sorted(i for i in ids if i is not None)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the conversation up to and including the header of the assistant's turn."""
        return prompt_ids(self.tokenizer, messages)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def pad_left(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """(rows, longest) token ids and attention mask, padded on the left, on the model's device."""
        longest = max(len(row) for row in rows)
        pad = self.tokenizer.pad_token_id
        tokens = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        return tokens.to(self.device), mask.to(self.device)

    @torch.inference_mode()
    def completion_logprobs(
        self, rows: Sequence[tuple[Sequence[Message], str, bool]], token_budget: int = 8_192
    ) -> list[tuple[float, int]]:
        """(sum of log-probabilities in nats, number of tokens) of each (messages, completion, ended) by this model.

        `ended` appends the end-of-turn token, which a completion cut off at its length limit does not have.
        """
        encoded = [
            (self.prompt_ids(messages), completion_ids(self.tokenizer, text, ended)) for messages, text, ended in rows
        ]
        results: list[tuple[float, int]] = [(0.0, 0)] * len(rows)
        for batch in batches_of_like_length([len(p) + len(c) for p, c in encoded], token_budget):
            tokens, mask = self.pad_left([encoded[i][0] + encoded[i][1] for i in batch])
            width = max(len(encoded[i][1]) for i in batch)
            logits = self.model(
                input_ids=tokens,
                attention_mask=mask,
                position_ids=(mask.cumsum(1) - 1).clamp(min=0),
                logits_to_keep=width + 1,
                use_cache=False,
            ).logits[:, :-1]
            targets = tokens[:, -width:] if width else tokens[:, :0]
            for line, index in enumerate(batch):  # a row at a time: float32 logits of a whole batch are large
                count = len(encoded[index][1])
                row = logits[line, width - count :].float()
                picked = row.gather(1, targets[line, width - count :, None])[:, 0] - row.logsumexp(1)
                results[index] = (float(picked.double().sum()), count)
        return results


def batches_of_like_length(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Indices, shortest first, in batches of at most `token_budget` tokens with padding; at least one in each."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batches and (len(batches[-1]) + 1) * lengths[index] <= token_budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def prompt_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """The chat template applied once and tokenized without adding special tokens again (a doubled BOS is a trap)."""
    text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def completion_ids(tokenizer: Any, text: str, ended: bool) -> list[int]:
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    return [*ids, tokenizer.eos_token_id] if ended else ids


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_fast_bf16(device: torch.device | None = None) -> bool:
    """Whether bfloat16 arithmetic is in the hardware (emulated bfloat16 is slower than float32)."""
    if (device or best_device()).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def resolve_dtype(name: str, device: torch.device | None = None) -> torch.dtype:
    """`auto` is bfloat16 where the hardware has it and float32 elsewhere."""
    if name == "auto":
        return torch.bfloat16 if has_fast_bf16(device) else torch.float32
    try:
        return {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]
    except KeyError:
        raise PrefloopError(f"dtype is {name!r}; use auto, bfloat16 or float32") from None


def load_tokenizer(folder: Path, chat_template: str | None = None) -> Any:
    """The tokenizer, padding on the left with a pad token that is not the end-of-turn token.

    When pad and eos are one token, a class that reads the last token that is not padding stops before the eos.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, padding_side="left")
    if chat_template:
        tokenizer.chat_template = chat_template
    if tokenizer.chat_template is None:
        raise PrefloopError(
            f"the tokenizer in {folder} has no chat template; give one with model.chat_template in prefloop.toml "
            "(a path to a .jinja file)"
        )
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return tokenizer


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Without transformers' weight-loading bars, and its report that a fresh score head is fresh."""
    enabled, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if enabled:
            transformers_logging.enable_progress_bar()


def with_contiguous_head(model: Any) -> Any:
    """The model, whose head over the vocabulary gets its input in one piece.

    `logits_to_keep` hands it a slice, for which torch 2.13 copies the head's weights once a row: 1.7 GiB and half of
    the time of a prefill with 32 rows and a vocabulary of 49,152.
    """
    model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))
    return model


def load(
    folder: Path, adapter: Path | None = None, dtype: str = "auto", chat_template: str | None = None
) -> LanguageModel:
    """Load the base in `folder` with `adapter` merged into it."""
    device = best_device()
    wanted = resolve_dtype(dtype, device)
    tokenizer = load_tokenizer(folder, chat_template)
    with quiet_loading():
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        )
        if adapter is not None:
            model = PeftModel.from_pretrained(model, str(adapter), use_safetensors=True).merge_and_unload()
    model = with_contiguous_head(model.to(device=device, dtype=wanted).eval().requires_grad_(False))
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    return LanguageModel(model, tokenizer, device)
