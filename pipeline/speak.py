"""One completion, word for word as it is drawn: what `prefloop serve` and `prefloop chat` answer with.

The tokens are those that `generate` draws for the same messages, sampling settings, seed and sample index, so that an
answer can be repeated. Stop sequences end it early and are not part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from db.hashing import canonical_json, sha256_text
from db.words import FinishReason

from .errors import PrefloopError
from .generate import Request, Sampling, sample, uniforms
from .language_model import LanguageModel, Message


@dataclass(frozen=True)
class Piece:
    """What one token adds: text that stands (often none, see `_settled`), and the sums so far."""

    text: str
    token_count: int  # tokens drawn so far, the one that ends the answer included
    logprob_sum: float  # nats, over these tokens, under the untempered, unfiltered model
    finish_reason: FinishReason | None = None  # of the last piece


def window_of(lm: LanguageModel) -> int:
    """How many tokens the model can read and write in all."""
    return int(lm.model.config.get_text_config().max_position_embeddings)


def speak(
    lm: LanguageModel,
    messages: Sequence[Message],
    sampling: Sampling,
    seed: int,
    stop: Sequence[str] = (),
    sample_index: int = 0,
) -> Iterator[Piece]:
    """Draw an answer; the texts of the pieces joined are the answer.

    Raises PrefloopError where the conversation and its answer do not fit the model's window.
    """
    prompt = lm.prompt_ids(messages)
    if len(prompt) + sampling.max_new_tokens > window_of(lm):
        raise PrefloopError(
            f"the conversation has {len(prompt)} tokens; with {sampling.max_new_tokens} new ones it does not fit the "
            f"model's window of {window_of(lm)}: begin anew, or ask for fewer tokens"
        )
    sha256 = sha256_text(canonical_json(list(messages)))  # as the store has it: the same random stream
    request = Request(0, sha256, tuple(messages), sample_index)
    stop_ids = set(lm.stop_ids)
    ids: list[int] = []
    said, total = "", 0.0
    for token, logprob in _tokens(lm, prompt, sampling, request, seed):
        ids.append(token)
        total += logprob
        whole = lm.decode(ids)
        cut = min((at for at in (whole.find(word) for word in stop) if at >= 0), default=None)
        if cut is not None or token in stop_ids or len(ids) == sampling.max_new_tokens:
            answer = whole if cut is None else whole[:cut]
            reason: FinishReason = "length" if cut is None and token not in stop_ids else "stop"
            yield Piece(answer[len(said) :], len(ids), total, reason)
            return
        new = _settled(whole, stop)[len(said) :]
        said += new
        yield Piece(new, len(ids), total)


def _settled(whole: str, stop: Sequence[str]) -> str:
    """The part of the text that no further token takes back.

    Not so a character whose bytes are not all there, white space that may be the end, or what may begin a stop
    sequence.
    """
    text = whole.rstrip("\ufffd").rstrip()
    held = max((n for word in stop for n in range(1, len(word)) if text.endswith(word[:n])), default=0)
    return text[: len(text) - held].rstrip()


@torch.inference_mode()
def _tokens(
    lm: LanguageModel, prompt: Sequence[int], sampling: Sampling, request: Request, seed: int
) -> Iterator[tuple[int, float]]:
    """(token id, its log-probability in nats), one after the other, over a key-value cache."""
    cache = DynamicCache(config=lm.model.config)
    draws = torch.from_numpy(uniforms(request, seed, sampling.max_new_tokens)).to(lm.device)
    ids_1_T = torch.tensor([list(prompt)], device=lm.device)
    for step in range(sampling.max_new_tokens):
        logits_1_V = lm.model(input_ids=ids_1_T, past_key_values=cache, logits_to_keep=1).logits[:, -1].float()
        token_1 = sample(logits_1_V, draws[step : step + 1], sampling)
        logprob = logits_1_V[0, token_1[0]] - logits_1_V[0].logsumexp(0)
        yield int(token_1), float(logprob)
        ids_1_T = token_1[:, None]
