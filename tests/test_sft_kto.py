"""Learning from demonstrations, from plain text and from thumbs, for real, on a tiny model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_training import LORA
from trl import KTOTrainer

from pipeline.demonstrations import DemonstrationRow
from pipeline.errors import PrefloopError
from pipeline.language_model import completion_ids, load, load_tokenizer, prompt_ids
from pipeline.texts import TextRow, read_texts
from pipeline.thumbs import ThumbRow
from pipeline.train_kto import EndOfTurnCollator, KtoSettings, train_kto, weights
from pipeline.train_sft import SftSettings, demonstration, pieces, train_sft
from pipeline.training import file_sha256

# The tiny model's logits are small whatever is learned: 10 tokens of 5.9 nats can become some 5 nats likelier.
SFT = SftSettings(learning_rate=2e-2, epochs=4, batch_size=4, lora=LORA, dtype="float32")
KTO = KtoSettings(learning_rate=2e-2, epochs=4, batch_size=4, lora=LORA, dtype="float32")
QUESTION = ({"role": "user", "content": "question"},)


def demonstrations(count: int = 8, ended: bool = True) -> list[DemonstrationRow]:
    return [
        DemonstrationRow(f"{n:064x}", ({"role": "user", "content": f"question {n}"},), f"yes please {n}", ended)
        for n in range(count)
    ]


def thumbs(good: int = 6, bad: int = 6) -> list[ThumbRow]:
    texts = [("yes please", True)] * good + [("never, no", False)] * bad
    return [
        ThumbRow(f"{n:064x}", ({"role": "user", "content": f"question {n}"},), f"{text} {n}", True, up, 1, 0)
        for n, (text, up) in enumerate(texts)
    ]


def logprob(base: Path, adapter: Path | None, text: str) -> float:
    return load(base, adapter, dtype="float32").completion_logprobs([(QUESTION, text, True)])[0][0]


def first_loss(result: Any) -> float:
    return next(value for name, _, value in result.metrics if name == "loss")


def test_sft_makes_demonstrations_likelier(tiny_base: Path, tmp_path: Path) -> None:
    before = file_sha256(tiny_base / "model.safetensors")
    result = train_sft(demonstrations(), SFT, tiny_base, None, tmp_path / "adapter", seed=0)
    assert logprob(tiny_base, result.adapter, "yes please 3") > logprob(tiny_base, None, "yes please 3") + 1
    assert file_sha256(tiny_base / "model.safetensors") == before
    assert result.summary["too_long"] == 0
    assert result.tokens > 0


def test_sft_s_loss_is_of_the_answer_s_tokens_alone(tiny_base: Path, tmp_path: Path) -> None:
    rows = demonstrations(4)
    one_step = SftSettings(**{**SFT.__dict__, "epochs": 1})
    result = train_sft(rows, one_step, tiny_base, None, tmp_path / "adapter", seed=0)
    scored = load(tiny_base, None, dtype="float32").completion_logprobs([(r.messages, r.text, r.ended) for r in rows])
    expected = -sum(total for total, _ in scored) / sum(tokens for _, tokens in scored)
    assert first_loss(result) == pytest.approx(expected, abs=1e-4)


def test_a_demonstration_ends_only_where_it_did_and_a_prompt_that_fills_it_is_left_out(
    tiny_base: Path, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(tiny_base)
    for ended in (True, False):
        (row,) = demonstrations(1, ended)
        example = demonstration(tokenizer, row, 512)
        learned = [label for label in example["labels"] if label != -100]
        assert learned == completion_ids(tokenizer, row.text, ended)
        assert example["input_ids"] == prompt_ids(tokenizer, row.messages) + learned
    long = DemonstrationRow("f" * 64, ({"role": "user", "content": "word " * 50},), "text", True)
    short = SftSettings(**{**SFT.__dict__, "max_length": 24, "epochs": 1})
    rows = [*demonstrations(3), long]
    assert train_sft(rows, short, tiny_base, None, tmp_path / "a", seed=0).summary["too_long"] == 1
    with pytest.raises(PrefloopError, match=r"of 1 rows 1 have a prompt that fills sft\.max_length = 24"):
        train_sft([long], short, tiny_base, None, tmp_path / "b", seed=0)


def test_a_text_becomes_likelier_and_every_token_of_it_is_in_one_piece(tiny_base: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_base)
    texts = ["one two three " * 9, "four five " * 7]
    cut = pieces(tokenizer, texts, 16)
    stream = [token for text in texts for token in completion_ids(tokenizer, text, ended=True)]
    assert [token for piece in cut for token in piece["input_ids"]] == stream[: sum(len(p["input_ids"]) for p in cut)]
    assert len(stream) - sum(len(piece["input_ids"]) for piece in cut) <= 1
    assert {len(piece["input_ids"]) for piece in cut[:-1]} == {16}
    assert stream.count(tokenizer.eos_token_id) == 2

    settings = SftSettings(**{**SFT.__dict__, "max_length": 16})
    rows = [TextRow(f"{n}.txt", text) for n, text in enumerate(texts)]
    result = train_sft(rows, settings, tiny_base, None, tmp_path / "adapter", seed=0)
    losses = [value for name, _, value in result.metrics if name == "loss"]
    assert losses[-1] < losses[0] - 0.1


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("a document")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "latin.txt").write_bytes("né".encode("latin-1"))
    assert read_texts([tmp_path / "good.txt"]) == [TextRow("good.txt", "a document")]
    for name, reason in (
        ("none.txt", "cannot be read"),
        ("empty.txt", "is empty"),
        ("latin.txt", "not UTF-8 at byte 1"),
    ):
        with pytest.raises(PrefloopError, match=reason):
            read_texts([tmp_path / "good.txt", tmp_path / name])


def test_kto_moves_towards_the_good_and_away_from_the_bad(tiny_base: Path, tmp_path: Path) -> None:
    result = train_kto(thumbs(), KTO, tiny_base, None, tmp_path / "adapter", seed=0)
    good, bad = (
        logprob(tiny_base, result.adapter, text) - logprob(tiny_base, None, text)
        for text in ("yes please 1", "never, no 7")
    )
    assert good > bad + 1
    assert first_loss(result) == pytest.approx(0.5, abs=1e-3)  # 1 − σ(0): the policy starts at its reference
    assert result.summary["good"] == result.summary["bad"] == 6
    assert {"kl", "rewards/chosen", "rewards/rejected"} <= {name for name, _, _ in result.metrics}


def test_a_child_of_kto_is_anchored_to_its_parent_or_to_the_base(tiny_base: Path, tmp_path: Path) -> None:
    parent = train_sft(demonstrations(), SFT, tiny_base, None, tmp_path / "parent", seed=0).adapter
    once = {**KTO.__dict__, "epochs": 1, "loss_type": "apo_zero_unpaired"}
    to_parent = train_kto(thumbs(), KtoSettings(**once), tiny_base, parent, tmp_path / "a", seed=0)
    to_base = train_kto(
        thumbs(), KtoSettings(**{**once, "reference": "base"}), tiny_base, parent, tmp_path / "b", seed=0
    )
    assert first_loss(to_parent) == pytest.approx(0.5, abs=1e-3)
    assert abs(first_loss(to_base) - 0.5) > 0.005  # the parent has already moved away from the base


def test_the_rarer_kind_weighs_more_so_that_both_count_the_same(tiny_base: Path, tmp_path: Path) -> None:
    assert weights(6, 6) == (1, 1)
    for good, bad in ((2, 8), (9, 3)):
        weight_good, weight_bad = weights(good, bad)
        assert weight_good * good == pytest.approx(weight_bad * bad)
        assert min(weight_good, weight_bad) == 1
    once = KtoSettings(**{**KTO.__dict__, "epochs": 1})
    summary = train_kto(thumbs(2, 6), once, tiny_base, None, tmp_path / "adapter", seed=0).summary
    assert (summary["weight_good"], summary["weight_bad"]) == (3, 1)


def test_kto_refuses_what_it_cannot_learn_from(tiny_base: Path, tmp_path: Path) -> None:
    def refused(rows: list[ThumbRow], **changed: Any) -> str:
        with pytest.raises(PrefloopError) as error:
            settings = KtoSettings(**{**KTO.__dict__, **changed})
            train_kto(rows, settings, tiny_base, None, tmp_path / "out", seed=0)
        return str(error.value)

    assert "6 good and 0 bad" in refused(thumbs(6, 0))
    assert "use kto or apo_zero_unpaired" in refused(thumbs(), loss_type="bco")
    assert "kto.batch_size = 1" in refused(thumbs(), batch_size=1)


def test_a_cut_off_answer_gets_no_end_of_turn_where_the_kl_is_estimated_either(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRL exchanges the completions within a batch; which of them ended goes along."""
    seen: list[dict[str, Any]] = []

    class Seen(Exception):
        pass

    def stop_here(trainer: KTOTrainer, *_: Any) -> None:
        seen.extend(trainer.get_train_dataloader())
        raise Seen

    monkeypatch.setattr("pipeline.train_kto.run_trainer", stop_here)
    rows = [
        ThumbRow(r.prompt_sha256, r.messages, r.completion, n % 3 > 0, r.good, 1, 0) for n, r in enumerate(thumbs())
    ]
    with pytest.raises(Seen):
        train_kto(rows, KTO, tiny_base, None, tmp_path / "out", seed=0)
    tokenizer = load_tokenizer(tiny_base)
    expected = {tuple(completion_ids(tokenizer, row.completion, row.ended)) for row in rows}

    def completions(batch: dict[str, Any], prefix: str) -> list[tuple[int, ...]]:
        both = zip(batch[f"{prefix}input_ids"], batch[f"{prefix}completion_mask"], strict=True)
        return [tuple(ids[mask.bool()].tolist()) for ids, mask in both]

    for batch in seen:
        own = completions(batch, "")
        assert completions(batch, "KL_") == [own[-1], *own[:-1]]
        assert set(own) <= expected
    assert sum(len(batch["label"]) for batch in seen) == len(rows)
    assert any(row.ended for row in rows)
    assert not all(row.ended for row in rows)


def test_the_collator_without_a_kl_has_none(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(tiny_base)
    collate = EndOfTurnCollator(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    batch = collate([{"prompt_ids": [5], "completion_ids": [7, 1, 9], "label": True, "ended": True}])
    assert torch.equal(batch["input_ids"], torch.tensor([[5, 7, 1]]))
    assert "KL_input_ids" not in batch
