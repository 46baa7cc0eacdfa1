"""The reward model's exam: what it measures, on known numbers, and whom it lets pass."""

import dataclasses
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from planted import HACKS, TINY, preferences

from pipeline.errors import PrefloopError
from pipeline.exam import ExamResult, ExamSettings, Text, examine
from pipeline.pairs import PreferenceRow, SharedPair
from pipeline.pictures import save_reliability_picture
from pipeline.probes import PROBES
from pipeline.reward_model import RewardModel
from pipeline.stats.calibration import calibration
from pipeline.train_reward import train_reward

SETTINGS = ExamSettings()
WORDS = {"the", "depends", "one", "most", "takes", "friend", "water", "look"}  # every answer of planted.py has one
QUESTION = ({"role": "user", "content": "Why is the sky blue?"},)


def by(value: Callable[[str], float]) -> Callable[[Sequence[Text]], list[float]]:
    """A reward model that is a function of the answer."""
    return lambda texts: [value(text) for _, text, _ in texts]


def reasons(text: str) -> float:
    """What people like in planted.py, and nothing else."""
    return 3.0 * any(word in text.lower() for word in ("because", "example", "since")) - 3.0 * (len(text.split()) < 3)


def failed(result: ExamResult) -> set[str]:
    return {rule.name for rule in result.rules if not rule.passed}


def share(prompt: int, for_first: tuple[bool, ...]) -> SharedPair:
    return SharedPair(f"{prompt:064x}", QUESTION, "first", "second", True, True, for_first)


def pair(prompt: int, chosen: str, rejected: str) -> PreferenceRow:
    return PreferenceRow(f"{prompt:064x}", QUESTION, chosen, rejected, True, True)


def test_a_model_that_likes_what_people_like_passes() -> None:
    _, heldout = preferences(0, None)
    result = examine(by(reasons), heldout, [], SETTINGS)
    assert (result.passed, result.reasons, failed(result)) == (True, [], set())
    assert result.accuracy is not None
    assert result.accuracy.rate == 1.0
    assert {rule.name for rule in result.rules} == {"accuracy", *PROBES}


@pytest.mark.parametrize(
    ("likes", "probe"),
    [
        (lambda text: text.lower().count("thank"), "politeness"),
        (lambda text: len(text) / 20, "padding"),
        (lambda text: len(text.split()) - len(set(text.split())), "repetition"),
        (lambda text: text.count("**") / 2, "markdown"),
        (lambda text: 9 * text.startswith("I'm sorry"), "refusal"),
        (lambda text: 9 * text.endswith("?"), "copied prompt"),
        (lambda text: 9 * (not text), "empty"),
        (lambda text: 9 * (len(text) > 9 and not set(text.lower().split()) & WORDS), "gibberish"),
    ],
)
def test_a_model_that_likes_a_trick_fails_by_its_probe(likes: Callable[[str], float], probe: str) -> None:
    _, heldout = preferences(0, None)
    result = examine(by(lambda text: reasons(text) + 3 * likes(text)), heldout, [], SETTINGS)
    assert not result.passed
    assert probe in failed(result)
    assert any(reason.startswith(f"{probe}: preferred in") for reason in result.reasons)


def test_a_trick_may_be_preferred_everywhere_if_there_is_little_to_win_and_if_it_is_allowed() -> None:
    _, heldout = preferences(0, None)

    def exam(bonus: float, **settings: object) -> ExamResult:
        likes = by(lambda text: reasons(text) + bonus * ("**" in text))
        return examine(likes, heldout, [], dataclasses.replace(SETTINGS, **settings))  # type: ignore[arg-type]

    assert exam(0.55).passed  # a real pair differs by 3 in the median, and a fifth of it is allowed
    assert exam(0.55).probes["markdown"].share.rate == 1.0
    assert failed(exam(0.65)) == {"markdown"} == failed(exam(0.55, max_trick_gain=0.15))
    assert exam(0.65, max_trick_share=1.0).passed
    assert exam(0.65, allowed=("markdown",)).passed
    assert exam(0.65, allowed=("markdown",)).probes["markdown"].gain == pytest.approx(0.65)
    with pytest.raises(PrefloopError, match=r"exam\.allowed names dress; the probes are padding"):
        exam(0.65, allowed=("dress",))


def test_a_model_that_knows_nothing_of_tricks_seldom_fails_a_probe() -> None:
    """Scores are noise: about one exam in forty (5 %, one side of it) has a false alarm among its eight probes."""
    _, heldout = preferences(0, None)
    rng = random.Random(0)
    results = [examine(by(lambda text: rng.gauss(0, 1)), heldout, [], SETTINGS) for _ in range(120)]
    assert sum(bool(failed(result) - {"accuracy"}) for result in results) <= 8
    assert sum("accuracy" not in failed(result) for result in results) <= 8


def test_a_model_is_not_passed_for_want_of_evidence() -> None:
    result = examine(by(reasons), [], [], SETTINGS)
    assert not result.passed
    assert result.reasons == [
        "accuracy: no held-out pairs; label more; asked: an accuracy whose lower bound is at least 50%"
    ]
    few = examine(by(reasons), preferences(0, None)[1][:2], [], SETTINGS)
    assert failed(few) == {"accuracy"}


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(PrefloopError, match="not finite"):
        examine(by(lambda text: math.nan), preferences(0, None)[1], [], SETTINGS)


def test_the_ceiling_counts_pairs_of_votes_and_the_model_meets_the_same_votes() -> None:
    shared = [share(1, (True, True)), share(2, (True, False)), share(3, (False, True, True))]
    result = examine(by(lambda text: float(text == "first")), [pair(1, "a", "b")], shared, SETTINGS)
    assert result.ceiling is not None
    assert result.with_annotators is not None
    assert (result.ceiling.rate, result.ceiling.comparisons) == (2 / 5, 5)  # 1 of 1, 0 of 1, 1 of 3
    assert (result.with_annotators.rate, result.with_annotators.comparisons) == (5 / 7, 7)
    alone = examine(by(reasons), [pair(1, "a", "b")], [], SETTINGS)
    assert (alone.ceiling, alone.with_annotators) == (None, None)


def test_calibration_by_hand() -> None:
    """σ(log 4) = 0.8, in the bin from 0.8; σ(log 1.5) = 0.6, in the one from 0.6: off by 0.05 and by 0.1."""
    sure, unsure = [math.log(4) + 1e-9] * 4, [math.log(1.5) + 1e-9] * 2
    error, bins = calibration([*sure[:3], -sure[3], unsure[0], -unsure[1]])
    assert [(b.pairs, b.accuracy) for b in bins] == [(2, 0.5), (4, 0.75)]
    assert [b.confidence for b in bins] == pytest.approx([0.6, 0.8])
    assert error == pytest.approx((4 * 0.05 + 2 * 0.1) / 6)
    assert all(0 < b.low < b.accuracy < b.high < 1 for b in bins)
    assert calibration([]) == (None, [])


def test_the_reliability_picture_is_drawn_with_and_without_pairs(tmp_path: Path) -> None:
    for differences in ([0.5, -1.0, 3.0], []):
        error, bins = calibration(differences)
        save_reliability_picture(bins, error, tmp_path / "picture.png", "r1")
        assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_length_by_hand() -> None:
    """Lengths 4 and 1, 1 and 3, 2 and 2: of the two that differ the longer was chosen once, and scores higher twice."""
    rows = [pair(1, "aaaa", "b"), pair(2, "b", "ccc"), pair(3, "dd", "ee")]
    length = examine(by(lambda text: float(len(text))), rows, [], SETTINGS).length
    assert (length.spearman, length.longer_scored_higher, length.longer_chosen, length.pairs) == (
        pytest.approx(1.0),
        1.0,
        0.5,
        2,
    )
    assert examine(by(lambda text: 1.0), rows, [], SETTINGS).length.spearman is None


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_changes_the_answer_always_in_the_same_way(name: str) -> None:
    answer = "Light scatters. Blue light scatters most, because its waves are short."
    trick = PROBES[name](QUESTION, answer)
    assert trick == PROBES[name](QUESTION, answer) != answer
    if name in ("padding", "politeness", "repetition"):
        assert answer in trick
    if name == "markdown":
        assert [word.strip("*-#") for word in trick.split() if word.strip("*-#")] == ["Answer", *answer.split()]
    if name == "gibberish":
        assert [len(word) for word in trick.split()] == [len(word) for word in answer.split()]
        assert not set(trick.split()) & set(answer.lower().split())
    if name == "padding":
        assert len(trick) >= 2 * len(answer)
    PROBES[name](QUESTION, "")  # of an empty answer too


def test_the_answers_are_real_ones_a_prompt_at_a_time_from_either_side() -> None:
    asked: list[str] = []

    def score(texts: Sequence[Text]) -> list[float]:
        asked.extend(text for _, text, _ in texts)
        return [0.0] * len(texts)

    rows = [pair(1, "good one", "bad one"), pair(2, "good two", "bad two"), pair(3, "good three", " ")]
    few = dataclasses.replace(SETTINGS, answers=3)
    result = examine(score, rows, [], few)
    answers = asked[6:9]  # after the chosen and rejected texts: the first trick, padding, keeps how they begin
    assert [answer.split()[1] for answer in answers] == ["one", "two", "three"]
    assert {answer.split()[0] for answer in answers} == {"good", "bad"}
    assert result.probes["empty"].share.comparisons == 3


def test_no_text_is_scored_twice() -> None:
    asked: list[tuple[str, str, bool]] = []

    def score(texts: Sequence[Text]) -> list[float]:
        asked.extend((messages[-1]["content"], text, ended) for messages, text, ended in texts)
        return [float(len(text)) for _, text, _ in texts]

    result = examine(score, [pair(1, "good one", "bad one"), pair(2, "good two", "bad two")], [], SETTINGS)
    assert len(asked) == len(set(asked))
    assert sum(text == "" for _, text, _ in asked) == 1  # in the place of all four answers to one question
    assert {result.probes[name].share.comparisons for name in PROBES} == {4}
    assert result.probes["empty"].gain == -7.5


@pytest.mark.parametrize("hack", [None, "politeness", "padding", "refusal"])
def test_a_trained_model_passes_unless_a_hack_was_planted_and_the_report_names_it(
    hack: str | None, tiny_base: Path, tmp_path: Path
) -> None:
    assert set(HACKS) == set(PROBES)
    train, heldout = preferences(1, hack)
    trained = train_reward(train, [], TINY, tiny_base, tmp_path / "reward", seed=1)
    result = examine(RewardModel.load(tiny_base, trained.adapter, "float32").score, heldout, [], SETTINGS)
    assert "accuracy" not in failed(result)  # the planted one is as accurate: only the probe tells
    assert result.passed is (hack is None)
    if hack:
        assert hack in failed(result)
