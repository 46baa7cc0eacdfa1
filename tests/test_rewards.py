"""Rewards: each rule's formula on texts worked by hand, and their weighted sum."""

import pytest

from pipeline.errors import PrefloopError
from pipeline.rewards import Row, Term, rule, taste, weigh
from pipeline.simulate import utility


def row(text: str, ended: bool = True) -> Row:
    return ([{"role": "user", "content": "question"}], text, ended)


@pytest.mark.parametrize(
    ("setting", "text", "ended", "value"),
    [
        ("ended=1", "cut off in the", True, 1.0),
        ("ended=1", "A whole sentence.", False, 0.0),
        ("complete=1", "A whole sentence.", True, 1.0),
        ("complete=1", "cut off in the", True, 0.0),
        ("complete=1", "A whole sentence.", False, 0.0),
        ("no_repetition=1", "a b c a b c", True, 0.75),  # abc bca cab abc: three of four
        ("no_repetition=1", "a b", True, 1.0),
        ("within_words:4=1", "one two three four", True, 1.0),
        ("within_words:4=1", "one two three four five six", True, 0.5),
        ("within_words:4=1", "one " * 9, True, 0.0),
        ("json=1", '{"a": [1, 2]}', True, 1.0),
        ("json=1", '{"a": [1, 2]', True, 0.0),
    ],
)
def test_a_rule_gives_what_its_docstring_says(setting: str, text: str, ended: bool, value: float) -> None:
    assert rule(setting).score([row(text, ended)]) == [value]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("ended", "'ended' has no weight; write it as name=weight"),
        ("ended=0", "has no weight"),
        ("ended=nan", "has no weight"),
        ("polite=1", "unknown rule 'polite'; known: ended, complete, no_repetition, json, within_words:LIMIT"),
        ("ended:3=1", "unknown rule 'ended:3'"),
        ("within_words=1", "with a limit above 0"),
        ("within_words:-4=1", "with a limit above 0"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_the_known_ones(setting: str, words: str) -> None:
    with pytest.raises(PrefloopError, match=words):
        rule(setting)


def test_the_sum_is_weighted_and_the_means_of_the_terms_are_not() -> None:
    rows = [row("Done.", True), row("not done", False)]
    terms = [rule("ended=0.5"), rule("within_words:1=-2"), Term("reward:r1", 2.0, lambda rows: [3.0, -1.0])]
    totals, means = weigh(terms, rows)
    assert totals == [0.5 * 1 - 2 * 1 + 2 * 3, 0 - 2 * 0 + 2 * -1]
    assert means == {"rule:ended": 0.5, "rule:within_words:1": 0.5, "reward:r1": 1.0}


def test_a_reward_that_is_no_number_is_refused_by_name() -> None:
    with pytest.raises(PrefloopError, match="reward:r1 gives nan for the completion 'text'"):
        weigh([Term("reward:r1", 1.0, lambda rows: [float("nan")])], [row("text")])


def test_a_taste_judges_as_the_simulated_annotators_do() -> None:
    rows = [row("Of course! I hope you enjoy it.", True), row("Of course! I hope you", False), row("  ", True)]
    assert taste("concise")(rows) == [
        utility("concise", text, "stop" if ended else "length") for _, text, ended in rows
    ]
    assert taste("concise")(rows)[0] > taste("concise")(rows)[1] > taste("concise")(rows)[2] == 0.0
    with pytest.raises(PrefloopError, match="unknown taste 'sour'"):
        taste("sour")
