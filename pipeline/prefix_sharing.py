"""Prefix sharing: the two answers of a pair are read in one sequence, and their prompt once (arXiv:2410.20305).

A line is what both texts begin with, then the rest of the one, then the rest of the other; `segments` says which token
belongs to which. A token sees what both begin with and its own text up to itself, and its position is the number of
tokens that it sees before itself: each text is read as if it were alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .reward_model import Encoded, padded, states_read

BOTH, PADDING = 0, -1  # segments; 1 is the first text, 2 the second

Pair = tuple[Encoded, Encoded]


def side_by_side(pairs: Sequence[Pair], pad_id: int) -> dict[str, Tensor]:
    """`input_ids`, `attention_mask` and `segments`, (B, S) each; `answer_mask`, (2B, S): first texts, then second."""
    tokens: list[list[int]] = []
    segments: list[list[int]] = []
    answers: tuple[list[list[int]], ...] = ([], [])
    for pair in pairs:
        common = shared_tokens(pair)
        tokens.append(pair[0].ids[:common])
        segments.append([BOTH] * common)
        for side, text in enumerate(pair):
            tokens[-1] = tokens[-1] + text.ids[common:]
            segments[-1] = segments[-1] + [side + 1] * (len(text.ids) - common)
            answers[side].append([0] * (len(tokens[-1]) - text.answer) + [1] * text.answer)
    longest = max(map(len, tokens))

    def lines(rows: Sequence[list[int]], fill: int) -> Tensor:
        return torch.tensor([row + [fill] * (longest - len(row)) for row in rows])

    segments_B_S = lines(segments, PADDING)
    return {
        "input_ids": lines(tokens, pad_id),
        "attention_mask": (segments_B_S != PADDING).long(),
        "segments": segments_B_S,
        "answer_mask": lines([*answers[0], *answers[1]], 0),
    }


def line_length(pair: Pair) -> int:
    """Tokens of the two texts side by side."""
    return sum(len(text.ids) for text in pair) - shared_tokens(pair)


def shared_tokens(pair: Pair) -> int:
    """How many tokens both texts begin with. Those that are scored are never among them."""
    most = min(len(text.ids) - text.answer for text in pair)
    return next((i for i in range(most) if pair[0].ids[i] != pair[1].ids[i]), most)


def one_by_one(pairs: Sequence[Pair], pad_id: int) -> dict[str, Tensor]:
    """A line for each text: `input_ids`, `attention_mask`, `answer_mask`, (2B, S) each; first texts, then second."""
    return padded([text for side in zip(*pairs, strict=True) for text in side], pad_id)


def in_least_memory(pairs: Sequence[Pair], pad_id: int, max_length: int) -> dict[str, Tensor]:
    """The pairs side by side, or one by one where that asks for less memory.

    Attention takes memory with the square of a line's length. Lines longer than `max_length`, which no text alone is,
    have to need less of it than twice as many lines with a text each.
    """
    both = side_by_side(pairs, pad_id)
    length, longest = both["input_ids"].shape[1], max(len(text.ids) for pair in pairs for text in pair)
    if length <= max_length or length**2 <= 2 * longest**2:
        return both
    return one_by_one(pairs, pad_id)


def read_side_by_side(model: Any) -> None:
    """Let a `reward_model.classifier` score what `side_by_side` gives, too: (2B, 1), each text as if it were alone."""
    alone = model.forward

    def forward(segments: Tensor | None = None, **inputs: Tensor) -> Any:
        if segments is None:
            return alone(**inputs)
        return alone(states=_states(model, inputs["input_ids"], segments).repeat(2, 1, 1), **inputs)

    model.forward = forward


def _states(model: Any, tokens_B_S: Tensor, segments_B_S: Tensor) -> Tensor:
    sees_B_S_S = (segments_B_S[:, None] == BOTH) | (segments_B_S[:, None] == segments_B_S[:, :, None])
    sees_B_S_S = sees_B_S_S.tril()
    mask_B_1_S_S = torch.zeros(sees_B_S_S.shape, dtype=model.dtype, device=tokens_B_S.device)
    mask_B_1_S_S = mask_B_1_S_S.masked_fill(~sees_B_S_S, torch.finfo(model.dtype).min)[:, None]
    positions_B_S = (sees_B_S_S.sum(-1) - 1).masked_fill(segments_B_S == PADDING, 0)
    return states_read(model.base_model, input_ids=tokens_B_S, attention_mask=mask_B_1_S_S, position_ids=positions_B_S)


@torch.no_grad()
def can_share(model: Any, pair: Pair, pad_id: int) -> bool:
    """Whether `model` reads the texts of a pair side by side as it reads each alone, but for rounding: tried on `pair`.

    Not so for models that have no mask over pairs of tokens (ALiBi, state spaces, convolutions), nor for those with a
    sliding window that is shorter than the pair.
    """
    alone, both = one_by_one([pair], pad_id), side_by_side([pair], pad_id)
    try:
        one = states_read(
            model.base_model,
            input_ids=alone["input_ids"].to(model.device),
            attention_mask=alone["attention_mask"].to(model.device),
        )
        other = _states(model, both["input_ids"].to(model.device), both["segments"].to(model.device))
    except (RuntimeError, TypeError, ValueError):  # a shape or an argument that the model does not take
        return False
    wanted = one[alone["answer_mask"].bool().to(model.device)]
    found = other.repeat(2, 1, 1)[both["answer_mask"].bool().to(model.device)]
    rounding = torch.finfo(model.dtype).eps ** 0.5  # 9 % of bfloat16's states, 0.03 % of float32's
    return bool((found - wanted).norm() <= rounding * wanted.norm())
