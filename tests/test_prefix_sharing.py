"""Two texts in one sequence are read as each alone, and a model that cannot is not asked to."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from test_training import REWARD, pairs
from transformers import (
    BloomConfig,
    BloomForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    MistralConfig,
    MistralForSequenceClassification,
)

import pipeline.train_reward
from pipeline.checkpoints import ADAPTER_FILE
from pipeline.prefix_sharing import (
    can_share,
    in_least_memory,
    one_by_one,
    read_side_by_side,
    shared_tokens,
    side_by_side,
)
from pipeline.reward_model import Encoded, read_the_answer
from pipeline.train_reward import train_reward

SIZES = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_labels": 1}
LLAMA = {**SIZES, "intermediate_size": 32, "num_key_value_heads": 1, "attn_implementation": "eager"}
PAIR = Encoded([*range(1, 15), 20, 21, 22], 3), Encoded([*range(1, 15), 30, 31], 2)

tokens = st.lists(st.integers(1, 49), max_size=6)


@st.composite
def a_pair(draw: st.DrawFn) -> tuple[Encoded, Encoded]:
    """As `encode` makes them: of one prompt or, where one was cut, of two ends of it; an empty answer has no token."""
    prompt = draw(st.lists(st.integers(1, 49), min_size=1, max_size=8))

    def text() -> Encoded:
        answer, longest = draw(tokens), draw(st.integers(1, 20))
        ids = (prompt + answer)[-longest:]
        return Encoded(ids, min(max(len(answer), 1), len(ids)))

    return text(), text()


def llama() -> Any:
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(LlamaConfig(**LLAMA))
    for parameter in model.parameters():  # far from zero, so that what is seen by mistake is seen
        torch.nn.init.normal_(parameter, std=0.5)
    return model


@settings(max_examples=60, deadline=None)
@given(some=st.lists(a_pair(), min_size=1, max_size=4))
def test_texts_side_by_side_have_the_scores_and_the_gradient_of_each_alone(
    some: list[tuple[Encoded, Encoded]],
) -> None:
    model = llama()
    read_the_answer(model)
    inputs = one_by_one(some, 0)
    wanted = model(**inputs).logits
    (wanted[: len(some)] - 2 * wanted[len(some) :]).sum().backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    read_side_by_side(model)
    assert torch.equal(model(**inputs).logits, wanted)  # one by one as before
    found = model(**side_by_side(some, 0)).logits
    (found[: len(some)] - 2 * found[len(some) :]).sum().backward()
    assert torch.allclose(found, wanted, atol=1e-4)
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, gradients[name], rtol=1e-3, atol=1e-3), name


def test_a_prompt_is_read_once_and_never_more_than_the_texts_have_in_common() -> None:
    inputs = side_by_side([PAIR], 0)
    assert inputs["input_ids"].tolist() == [[*range(1, 15), 20, 21, 22, 30, 31]]
    assert inputs["segments"].tolist() == [[0] * 14 + [1] * 3 + [2] * 2]
    assert inputs["answer_mask"].tolist() == [[0] * 14 + [1] * 3 + [0] * 2, [0] * 17 + [1] * 2]
    assert shared_tokens((Encoded([1, 2, 3, 4], 2), Encoded([1, 2, 3, 5], 1))) == 2  # what is scored is not shared
    assert shared_tokens((Encoded([1, 2, 3], 1), Encoded([9, 2, 3], 1))) == 0


def test_long_answers_to_a_short_prompt_are_read_one_by_one() -> None:
    """Attention would need more memory side by side than any two texts of the greatest length do."""
    prompt, answers = [1, 2], ([3] * 10, [4] * 9)
    pair = tuple(Encoded(prompt + answer, len(answer)) for answer in answers)
    assert in_least_memory([pair], 0, max_length=21)["input_ids"].shape == (1, 21)
    assert in_least_memory([pair], 0, max_length=20)["input_ids"].shape == (2, 12)
    assert in_least_memory([PAIR], 0, max_length=17)["input_ids"].shape == (1, 19)  # mostly prompt: 19² < 2 · 17²


def test_models_that_cannot_share_are_found_out() -> None:
    """By trying: ALiBi takes no such mask, and a sliding window counts places in the line."""
    torch.manual_seed(0)
    window = MistralConfig(**LLAMA, sliding_window=8)
    wide = MistralConfig(**LLAMA, sliding_window=64)
    bloom = BloomConfig(vocab_size=50, hidden_size=16, n_layer=2, n_head=2, num_labels=1)
    gpt2 = GPT2Config(vocab_size=50, n_positions=64, n_embd=16, n_layer=2, n_head=2, num_labels=1)
    assert can_share(LlamaForSequenceClassification(LlamaConfig(**LLAMA)).eval(), PAIR, 0)
    assert can_share(GPT2ForSequenceClassification(gpt2).eval(), PAIR, 0)
    assert can_share(MistralForSequenceClassification(wide).eval(), PAIR, 0)
    assert not can_share(MistralForSequenceClassification(window).eval(), PAIR, 0)
    assert not can_share(BloomForSequenceClassification(bloom).eval(), PAIR, 0)


def test_a_reward_model_learns_the_same_with_and_without_sharing(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = train_reward(pairs(8), [], REWARD, tiny_base, tmp_path / "shared", seed=0)
    monkeypatch.setattr(pipeline.train_reward, "can_share", lambda *_: False)
    other = train_reward(pairs(8), [], REWARD, tiny_base, tmp_path / "alone", seed=0)
    assert one.tokens < other.tokens
    losses = [[value for name, _, value in result.metrics if name == "loss"] for result in (one, other)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
    weights = [load_file(result.adapter / ADAPTER_FILE) for result in (one, other)]
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], atol=1e-2), name
