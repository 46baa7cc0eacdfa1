"""Simulated annotators: the tastes mean what they say, and the panel is noisy as set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PrefloopError
from pipeline.simulate import TASTES, SimulatedAnnotator, judge, panel, utility

SHORT = ("Turn it off, wait ten seconds, and turn it on again. That usually helps.", "stop")
LONG = ("There are many things that one could say about this " * 8, "length")
LIST = ("Try this:\n\n1. Turn it off.\n2. Wait.\n3. Turn it on.\n4. Check the cable.", "stop")
WARM = ("Hi there! I'm so glad you asked. Don't worry, you've got this! Let me know how it goes for you.", "stop")


@pytest.mark.parametrize(
    ("taste", "better", "worse"),
    [("concise", SHORT, LONG), ("structured", LIST, SHORT), ("warm", WARM, SHORT), ("concise", SHORT, ("", "stop"))],
)
def test_a_taste_prefers_what_it_is_named_after(taste: str, better: tuple[str, str], worse: tuple[str, str]) -> None:
    assert utility(taste, *better) > utility(taste, *worse) + 0.2


@pytest.mark.parametrize("taste", sorted(TASTES))
@given(st.text(max_size=300), st.sampled_from(["stop", "length"]))
def test_utilities_lie_between_0_and_1(taste: str, text: str, finish: str) -> None:
    assert 0 <= utility(taste, text, finish) <= 1


@pytest.mark.parametrize("taste", sorted(TASTES))
def test_repeating_oneself_does_not_pay(taste: str) -> None:
    for text, finish in (SHORT, LIST, WARM):
        assert utility(taste, " ".join([text] * 6), finish) <= utility(taste, text, finish) + 0.25 * (
            taste != "concise"
        )


def test_an_unknown_taste_is_refused_by_name() -> None:
    with pytest.raises(PrefloopError, match="'salty'.*concise, structured, warm"):
        utility("salty", "text", "stop")


def test_the_choice_follows_the_text_and_not_the_side() -> None:
    annotator = SimulatedAnnotator("structured", flip_share=0)
    assert judge(annotator, "key", LIST, SHORT)[0] == "left"
    assert judge(annotator, "key", SHORT, LIST)[0] == "right"


def test_close_utilities_tie_and_two_bad_answers_are_both_bad() -> None:
    annotator = SimulatedAnnotator("structured", flip_share=0, bad_below=0.05)
    assert judge(annotator, "key", LIST, LIST)[0] == "tie"
    assert judge(annotator, "key", ("no", "stop"), ("none", "stop"))[0] == "both_bad"


def test_the_set_share_of_answers_is_flipped_and_repeatably() -> None:
    annotator = SimulatedAnnotator("structured", flip_share=0.15, seed=3)
    answers = [judge(annotator, f"key {number}", LIST, SHORT) for number in range(4000)]
    share = sum(flipped for _, flipped in answers) / len(answers)
    assert share == pytest.approx(0.15, abs=0.02)
    assert all((choice == "right") == flipped for choice, flipped in answers)
    assert answers[:50] == [judge(annotator, f"key {number}", LIST, SHORT) for number in range(50)]


def test_the_members_of_a_panel_differ() -> None:
    crew = panel("warm", 3, flip_share=0.1)
    assert len({(a.tie_margin, a.length_bias, a.seed) for a in crew}) == 3
    assert crew == panel("warm", 3, flip_share=0.1)
