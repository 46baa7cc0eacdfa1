"""Generation: what is drawn depends on the seed and the plan alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import PrefloopError
from pipeline.generate import Request, Sampling, generate, plan_batches, sample
from pipeline.language_model import LanguageModel, load
from pipeline.policy_model import load_base

TEXTS = ["hello", "what is the sea made of and why is it salty", "tell me a story about a cat", "hi there", "why"]


@pytest.fixture(scope="module")
def lm(tiny_base: Path) -> LanguageModel:
    return load(tiny_base, dtype="float32")


def requests(samples: int = 3) -> list[Request]:
    return [
        Request(number, f"{number * 7919:064x}"[::-1], ({"role": "user", "content": text},), index)
        for number, text in enumerate(TEXTS)
        for index in range(samples)
    ]


def drawn(lm: LanguageModel, wanted: list[Request], seed: int = 0, **options: object) -> dict[tuple[int, int], str]:
    sampling = Sampling(temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=12)
    return {
        (c.prompt_id, c.sample_index): f"{c.text} {c.token_count} {c.finish_reason}"
        for batch in generate(lm, wanted, sampling, seed, **options)  # type: ignore[arg-type]
        for c in batch
    }


def test_every_request_is_answered_once_and_the_same_seed_gives_the_same_text(lm: LanguageModel) -> None:
    first = drawn(lm, requests())
    assert set(first) == {(r.prompt_id, r.sample_index) for r in requests()}
    assert drawn(lm, requests()) == first
    assert drawn(lm, requests(), seed=1) != first


def test_samples_of_one_prompt_differ(lm: LanguageModel) -> None:
    texts = drawn(lm, requests(3))
    assert len({texts[1, index] for index in range(3)}) == 3


def test_a_text_does_not_depend_on_the_batches(lm: LanguageModel) -> None:
    """In float32 on this tiny model the padding's rounding is far below the gaps between probabilities."""
    assert drawn(lm, requests(), token_budget=10_000) == drawn(lm, requests(), token_budget=64)


def test_an_interrupted_run_gets_the_texts_it_would_have_had(lm: LanguageModel) -> None:
    whole = drawn(lm, requests(), token_budget=200)
    already = frozenset(list(whole)[:7])
    rest = drawn(lm, requests(), token_budget=200, already=already)
    assert rest == {key: text for key, text in whole.items() if key not in already}


def test_log_probabilities_are_those_of_the_model_whatever_the_sampling(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LanguageModel, "decode", lambda self, ids: " ".join(map(str, ids)))  # to see the token ids
    wanted = requests(2)
    messages = {r.prompt_id: r.messages for r in wanted}
    for batch in generate(lm, wanted, Sampling(temperature=1.3, top_p=0.9, top_k=30, max_new_tokens=10), seed=3):
        for completion in batch:
            prompt = lm.prompt_ids(messages[completion.prompt_id])
            ids = [int(token) for token in completion.text.split()]
            with torch.inference_mode():
                logits = lm.model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
            expected = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None]).sum()
            assert completion.logprob_sum == pytest.approx(float(expected), abs=1e-3)


def test_a_prompt_that_does_not_fit_is_named_before_anything_is_drawn(lm: LanguageModel) -> None:
    long = Request(99, "0" * 64, ({"role": "user", "content": "why? " * 600},), 0)
    with pytest.raises(PrefloopError, match=r"prompt 99 has \d+ tokens.*window of 512"):
        next(generate(lm, [*requests(), long], Sampling(), seed=0))


def test_greedy_takes_the_most_likely_token() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0]])
    assert sample(logits, torch.tensor([0.99]), Sampling(temperature=0)).tolist() == [1]


@given(
    st.lists(st.floats(-5, 5), min_size=3, max_size=12),
    st.floats(0, 0.999),
    st.floats(0.05, 1.0),
    st.integers(0, 12),
    st.floats(0.2, 3.0),
)
@settings(deadline=None, max_examples=300)
def test_only_tokens_inside_the_filters_are_drawn(
    logits: list[float], uniform: float, top_p: float, top_k: int, temperature: float
) -> None:
    values = torch.tensor([logits])
    token = int(sample(values, torch.tensor([uniform]), Sampling(temperature, top_p, top_k)))
    order = np.argsort(-np.asarray(logits), kind="stable")
    kept = order[:top_k] if top_k else order
    weights = np.exp(np.asarray(logits)[kept] / temperature)
    cumulative = np.cumsum(weights / weights.sum())
    nucleus = int(np.searchsorted(cumulative, top_p - 1e-5)) + 2  # rounding may let one neighbour in
    allowed = np.asarray(logits)[kept[:nucleus]].min()
    assert logits[token] >= allowed - 1e-6


def test_draws_have_the_model_s_frequencies() -> None:
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    uniforms = torch.from_numpy(np.random.default_rng(0).random(20_000, dtype=np.float32))
    for top_k in (0, 4):
        tokens = sample(probabilities.log().repeat(20_000, 1), uniforms, Sampling(1.0, 1.0, top_k))
        found = torch.bincount(tokens, minlength=4) / 20_000
        assert torch.allclose(found, probabilities, atol=0.015)


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 4)), min_size=1, max_size=40), st.integers(50, 3000))
def test_a_plan_holds_every_row_once_and_keeps_its_budget(groups: list[tuple[int, int]], budget: int) -> None:
    lengths = [length for length, samples in groups for _ in range(samples)]
    ids = [number for number, (_, samples) in enumerate(groups) for _ in range(samples)]
    plan = plan_batches(lengths, ids, budget, max_new_tokens=20)
    assert sorted(index for batch in plan for index in batch) == list(range(len(lengths)))
    for batch in plan:
        cost = len(batch) * (max(lengths[i] for i in batch) + 20)
        assert cost <= budget or len({ids[i] for i in batch}) == 1
    for group in set(ids):  # samples of one prompt share their prefill
        assert sum(any(ids[i] == group for i in batch) for batch in plan) == 1


def test_the_head_over_the_vocabulary_gets_its_input_in_one_piece(tiny_base: Path) -> None:
    """Otherwise torch copies its weights once a row."""
    seen: list[bool] = []
    for model in (load(tiny_base, dtype="float32").model, load_base(tiny_base, "float32", load_in_4bit=False)):
        head = model.get_output_embeddings()
        head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].is_contiguous()))
        tokens = torch.arange(12).reshape(3, 4)
        kept, whole = model(tokens, logits_to_keep=1).logits, model(tokens).logits
        assert torch.allclose(kept[:, -1], whole[:, -1], atol=1e-6)
    assert seen == [True] * 4
