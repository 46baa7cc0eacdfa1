"""GENERATE: candidates for prompts, batched by length under a token budget.

Own decoding loop instead of `transformers.generate`, for three measured reasons (docs/benchmarks.md): drawing from
a 49,152-token softmax with `torch.multinomial` took a third of the time on CPU; samples of one prompt can share one
prefill; and finished rows can leave the batch. It also gives every candidate its own random stream, so that the text
depends on the seed and not on what else happened to be in the run.

Left out: beam search, repetition penalties, speculative decoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from db.candidates import Completion

from .errors import PrefloopError
from .language_model import LanguageModel


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 switch their filter off."""

    temperature: float = 0.9
    top_p: float = 0.95  # probability mass kept
    top_k: int = 50  # tokens kept
    max_new_tokens: int = 64  # tokens, completion only

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Request:
    """One candidate that is wanted. The random stream is keyed by (seed, prompt_sha256, sample_index)."""

    prompt_id: int
    prompt_sha256: str
    messages: tuple[dict[str, str], ...]
    sample_index: int


@dataclass(frozen=True)
class Decoded:
    """The tokens of one completion, the one that stopped it included, and how it came out."""

    ids: list[int]
    stopped: bool  # by a stop token; otherwise cut off at the limit
    logprob_sum: float  # nats, under the untempered, unfiltered model


def plan_batches(lengths: Sequence[int], groups: Sequence[int], budget: int, max_new_tokens: int) -> list[list[int]]:
    """Batches of indices, shortest prompts first, each within `budget` tokens of (prompt + completion) × rows.

    Rows of one group (the samples of one prompt) stay together, so that they share their prefill. The plan depends
    only on the arguments: an interrupted run that plans again gets the same batches and hence the same texts.
    A single group larger than the budget still gets a batch of its own.
    """
    by_group: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        by_group.setdefault(group, []).append(index)
    ordered = sorted(by_group.values(), key=lambda rows: (lengths[rows[0]], rows[0]))
    batches: list[list[int]] = []
    for rows in ordered:
        longest = lengths[rows[0]] + max_new_tokens
        if batches and (len(batches[-1]) + len(rows)) * longest <= budget:
            batches[-1].extend(rows)
        else:
            batches.append(list(rows))
    return batches


def generate(
    lm: LanguageModel,
    requests: Sequence[Request],
    sampling: Sampling,
    seed: int,
    token_budget: int = 16_384,
    already: frozenset[tuple[int, int]] = frozenset(),
) -> Iterator[list[Completion]]:
    """Yield one finished batch of completions after the other.

    `token_budget` bounds rows × (prompt + new tokens) of a batch, and with it the memory of the key-value cache.
    Batches whose (prompt_id, sample_index) are all in `already` are skipped whole; a batch that lacks some is drawn
    again as planned, so that its missing texts are what they would have been, and only the missing are yielded.
    Raises PrefloopError, before anything is drawn, for a prompt that does not fit the model's window.
    """
    prompts = {r.prompt_id: lm.prompt_ids(r.messages) for r in requests}
    lengths = [len(prompts[r.prompt_id]) for r in requests]
    window = lm.model.config.get_text_config().max_position_embeddings
    for request, length in zip(requests, lengths, strict=True):
        if length + sampling.max_new_tokens > window:
            raise PrefloopError(
                f"prompt {request.prompt_id} has {length} tokens; with {sampling.max_new_tokens} new ones it does not "
                f"fit the model's window of {window}: shorten or retire it, or lower sampling.max_new_tokens"
            )
    plan = plan_batches(lengths, [r.prompt_id for r in requests], token_budget, sampling.max_new_tokens)
    for batch in plan:
        rows = [requests[i] for i in batch]
        missing = [(r.prompt_id, r.sample_index) not in already for r in rows]
        if any(missing):
            decoded = decode(lm, rows, prompts, sampling, seed)
            yield [_completion(lm, r, d) for r, d, wanted in zip(rows, decoded, missing, strict=True) if wanted]


def _completion(lm: LanguageModel, request: Request, decoded: Decoded) -> Completion:
    return Completion(
        prompt_id=request.prompt_id,
        sample_index=request.sample_index,
        text=lm.decode(decoded.ids),
        token_count=len(decoded.ids),
        finish_reason="stop" if decoded.stopped else "length",
        logprob_sum=decoded.logprob_sum,
    )


def uniforms(request: Request, seed: int, count: int) -> np.ndarray:
    """(count,) uniform draws in [0, 1) of this candidate's own stream."""
    key = [seed, int(request.prompt_sha256[:16], 16), request.sample_index]
    return np.random.default_rng(key).random(count, dtype=np.float32)


@torch.inference_mode()
def decode(
    lm: LanguageModel, rows: Sequence[Request], prompts: dict[int, list[int]], sampling: Sampling, seed: int
) -> list[Decoded]:
    """Decode one batch; `prompts` has token ids by prompt id. Axes: U distinct prompts, B rows running, T positions."""
    limit = sampling.max_new_tokens
    unique = list(dict.fromkeys(r.prompt_id for r in rows))
    which = torch.tensor([unique.index(r.prompt_id) for r in rows])
    tokens_U_T, mask_U_T = lm.pad_left([prompts[p] for p in unique])

    # 1. One prefill per distinct prompt, then one cache row per candidate.
    cache = DynamicCache(config=lm.model.config)
    logits_U = lm.model(
        input_ids=tokens_U_T,
        attention_mask=mask_U_T,
        position_ids=(mask_U_T.cumsum(1) - 1).clamp(min=0),
        past_key_values=cache,
        logits_to_keep=1,
    ).logits[:, -1]
    which = which.to(lm.device)
    cache.batch_select_indices(which)
    logits_B = logits_U[which]
    mask_B_T = mask_U_T[which]
    next_position_B = mask_B_T.sum(1)

    draws = torch.from_numpy(np.stack([uniforms(r, seed, limit) for r in rows])).to(lm.device)
    stop_ids = torch.tensor(lm.stop_ids, device=lm.device)
    running = torch.arange(len(rows), device=lm.device)  # which row of the batch each line of the cache belongs to
    alive_B = torch.ones(len(rows), dtype=torch.bool, device=lm.device)
    tokens = torch.zeros(len(rows), limit, dtype=torch.long)
    counts = torch.zeros(len(rows), dtype=torch.long)
    logprobs = torch.zeros(len(rows), dtype=torch.float64)
    stopped = torch.zeros(len(rows), dtype=torch.bool)

    for step in range(limit):
        # 2. Draw one token a row and note its log-probability under the untempered, unfiltered model.
        logits_B = logits_B.float()
        token_B = sample(logits_B, draws[running, step], sampling)
        picked_B = logits_B.gather(1, token_B[:, None])[:, 0] - logits_B.logsumexp(1)
        rows_alive = running[alive_B].cpu()
        tokens[rows_alive, step] = token_B[alive_B].cpu()
        counts[rows_alive] += 1
        logprobs[rows_alive] += picked_B[alive_B].double().cpu()
        is_stop_B = torch.isin(token_B, stop_ids) & alive_B
        stopped[running[is_stop_B].cpu()] = True
        alive_B &= ~is_stop_B
        if step == limit - 1 or not alive_B.any():
            break

        # 3. Let finished rows go once a quarter of the batch is idle: dropping them copies the cache.
        if int(alive_B.sum()) <= 0.75 * len(alive_B):
            keep = alive_B.nonzero()[:, 0]
            cache.batch_select_indices(keep)
            running, token_B, mask_B_T = running[keep], token_B[keep], mask_B_T[keep]
            next_position_B, alive_B = next_position_B[keep], alive_B[keep]

        # 4. One step of the model.
        mask_B_T = torch.cat([mask_B_T, mask_B_T.new_ones(len(mask_B_T), 1)], dim=1)
        logits_B = lm.model(
            input_ids=token_B[:, None],
            attention_mask=mask_B_T,
            position_ids=next_position_B[:, None],
            past_key_values=cache,
        ).logits[:, -1]
        next_position_B = next_position_B + 1

    kept = zip(tokens.tolist(), counts.tolist(), stopped.tolist(), logprobs.tolist(), strict=True)
    return [Decoded(ids[:count], stop, logprob) for ids, count, stop, logprob in kept]


def sample(logits_B_V: Tensor, uniform_B: Tensor, sampling: Sampling) -> Tensor:
    """(B,) token ids drawn by inverting the cumulative distribution at `uniform_B`.

    One uniform number a row replaces V of them (`torch.multinomial` draws V exponentials a row). Filters apply in the
    usual order: temperature, top-k, then top-p on what is left (Holtzman et al. 2020, arXiv:1904.09751).
    """
    if sampling.temperature == 0:
        return logits_B_V.argmax(1)
    scaled = logits_B_V / sampling.temperature
    size = scaled.shape[1]
    if sampling.top_k and sampling.top_k < size:
        values_B_K, ids_B_K = scaled.topk(sampling.top_k, dim=1)
    elif sampling.top_p < 1:
        values_B_K, ids_B_K = scaled.sort(dim=1, descending=True)
    else:
        values_B_K, ids_B_K = scaled, None
    cumulative = values_B_K.softmax(1).cumsum(1)
    last_B_1 = torch.full_like(uniform_B[:, None], cumulative.shape[1] - 1, dtype=torch.long)
    if sampling.top_p < 1:
        # The smallest set that reaches top_p: up to and including the first token that crosses it.
        last_B_1 = torch.searchsorted(cumulative, cumulative[:, -1:] * sampling.top_p).minimum(last_B_1)
    mass_B_1 = cumulative.gather(1, last_B_1)
    # right=True: a uniform of exactly 0 must not pick a token of probability 0
    choice = torch.searchsorted(cumulative, uniform_B[:, None] * mass_B_1, right=True).minimum(last_B_1)
    return choice[:, 0] if ids_B_K is None else ids_B_K.gather(1, choice)[:, 0]
