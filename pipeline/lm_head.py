"""Log-probabilities of completion tokens only, for TRL's trainers on a CPU.

TRL 1.16 projects every position through the language-model head where Triton is missing, prompt and padding included,
in float32. With a 49,152-word vocabulary that was half of a DPO step on CPU (docs/benchmarks.md). The head below has
the same contract and scores labelled positions only, in the model's own precision with float32 sums.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from trl.trainer import dpo_trainer, grpo_trainer, kto_trainer, rloo_trainer, sft_trainer
from trl.trainer.utils import FusedCausalLMOutput

from .language_model import best_device

USERS = (dpo_trainer, grpo_trainer, kto_trainer, rloo_trainer, sft_trainer)


@contextmanager
def completion_only_head() -> Iterator[None]:
    """Within: TRL's trainers are constructed with this head. With a GPU nothing changes: TRL's kernel is better."""
    if best_device().type != "cpu":
        yield
        return
    original = dpo_trainer.add_fused_lm_head
    for module in USERS:
        module.add_fused_lm_head = add_completion_head
    try:
        yield
    finally:
        for module in USERS:
            module.add_fused_lm_head = original


def add_completion_head(
    model: Any,
    temperature: float = 1.0,
    cast_lm_head_to_fp32: bool = False,
    outputs: tuple[str, ...] = ("log_probs",),
) -> None:
    """Give `model` the call `model(..., labels=..., fused_lm_head=True)` of TRL's `add_fused_lm_head`.

    Returns per-token fields of shape (batch, length - 1), zero where the label is -100, of the distribution at
    `temperature`. For a plain frozen head only: no bias, no logit scaling or soft-capping.
    """
    assert not cast_lm_head_to_fp32, "the head works in the model's own precision"
    plain_forward = model.forward

    # `generate` reads from the signature what the model takes: without it, a prompt is projected at every position.
    @functools.wraps(plain_forward)
    def forward(*args: Any, fused_lm_head: bool = False, labels: Tensor | None = None, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return plain_forward(*args, labels=labels, **kwargs)
        assert labels is not None
        hidden = model.base_model(*args, **kwargs).last_hidden_state[:, :-1]
        labels = labels[:, 1:]
        mask = labels != -100
        logits = F.linear(hidden[mask], model.get_output_embeddings().weight) / temperature
        picked = -F.cross_entropy(logits.float(), labels[mask], reduction="none")

        def spread(values: Tensor) -> Tensor:
            return values.new_zeros(mask.shape).masked_scatter(mask, values)

        with torch.no_grad():  # figures for the log, without gradient
            logprobs = logits.detach().float().log_softmax(-1)
            entropy = -(logprobs.exp() * logprobs).sum(-1)
            is_top1 = logits.detach().argmax(-1) == labels[mask]
            mean_logits = logits.detach().float().mean(-1)
        return FusedCausalLMOutput(
            log_probs=spread(picked),
            entropy=spread(entropy),
            mean_logits=spread(mean_logits),
            is_top1=spread(is_top1),
            label_mask=mask,
        )

    model.forward = forward
