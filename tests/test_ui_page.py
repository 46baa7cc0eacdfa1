"""The label page without a browser: what is shown, and what an answer does."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import Pair, question, said_by, seed, sqlite_url
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

from db import annotators, comparisons, judgments
from db.engine import writing
from labeling_ui import visit
from labeling_ui.passage import LONG

PAGE = Path(visit.__file__).parent / "label.py"
TWO: list[Pair] = [(question(f"question {n}"), f"one of {n}", f"two of {n}") for n in range(2)]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[Pair]], Engine]]:
    """Makes the store that the page is opened on."""
    engines: list[Engine] = []

    def make(pairs: list[Pair], overlap: int = 1) -> Engine:
        monkeypatch.setenv("PREFLOOP_STORE_URL", sqlite_url(tmp_path))
        engines.append(seed(sqlite_url(tmp_path), pairs, overlap))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


@pytest.fixture(autouse=True)
def no_minimum_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers may come at once, except where a test says otherwise."""
    monkeypatch.setattr(visit, "MINIMUM_VIEW_MS", 0)


def open_page(name: str = "me") -> AppTest:
    page = AppTest.from_file(str(PAGE))
    page.query_params["annotator"] = name
    return sound(page.run())


def sound(page: AppTest) -> AppTest:
    assert not page.exception, page.exception[0].message
    return page


def shown(page: AppTest) -> list[str]:
    return [element.value for element in page.text]


def words(page: AppTest) -> str:
    return "\n".join(element.value for element in [*page.subheader, *page.markdown, *page.text])


def choose(page: AppTest, choice: str) -> AppTest:
    (button,) = [button for button in page.button if str(button.key).startswith(f"{choice}-")]
    return sound(button.click().run())


def answers_on(page: AppTest) -> list[str]:
    return shown(page)[-2:]


def test_a_task_is_shown_blind(store: Callable[[list[Pair]], Engine]) -> None:
    store(TWO)
    page = open_page()
    assert shown(page)[:2] == ["user", "question 0"]
    assert sorted(answers_on(page)) == ["one of 0", "two of 0"]
    everything = words(page) + "".join(button.label for button in page.button)
    assert not any(clue in everything for clue in ("tiny", "v0", "version", "candidate"))
    assert "2 left" in words(page)


def test_the_page_keeps_the_stored_order_when_it_is_opened_again(store: Callable[[list[Pair]], Engine]) -> None:
    store([(question("which?"), "one", "two")])
    assert len({tuple(answers_on(open_page())) for _ in range(4)}) == 1


@pytest.mark.parametrize(("choice", "side"), [("left", 0), ("right", 1), ("tie", None), ("both_bad", None)])
def test_a_choice_is_stored_once_with_the_text_on_that_side(
    store: Callable[[list[Pair]], Engine], choice: str, side: int | None
) -> None:
    engine = store(TWO)
    page = open_page()
    preferred = None if side is None else answers_on(page)[side]
    choose(page, choice)
    (said,) = said_by(engine, "me")
    assert (said.choice, said.preferred, said.corrects) == (choice, preferred, False)
    assert said.response_ms is not None
    assert "saved 1 ✓" in words(page)
    assert "1 left" in words(page)
    assert shown(page)[:2] == ["user", "question 1"]


def test_what_was_typed_is_stored_with_the_choice(store: Callable[[list[Pair]], Engine]) -> None:
    engine = store(TWO)
    page = open_page()
    page.text_input[1].input(" it answers the question ")
    choose(page, "left")
    choose(page, "tie")
    assert [said.rationale for said in said_by(engine, "me")] == ["it answers the question", ""]


def test_an_answer_given_before_anybody_can_have_read_is_not_stored(
    store: Callable[[list[Pair]], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = store(TWO)
    page = open_page()
    monkeypatch.setattr(visit, "MINIMUM_VIEW_MS", 60_000)
    choose(page, "left")
    assert said_by(engine, "me") == []
    assert "too quick" in words(page)
    assert shown(page)[-4:-2] == ["user", "question 0"]


def test_every_turn_of_a_conversation_is_shown(store: Callable[[list[Pair]], Engine]) -> None:
    turns = [("system", "Be kind."), ("user", "An egg?"), ("assistant", "Soft or hard?"), ("user", "Soft.")]
    store([([{"role": role, "content": content} for role, content in turns], "six", "seven")])
    assert shown(open_page())[:8] == [text for turn in turns for text in turn]


def test_the_last_answer_can_be_changed_and_is_superseded(store: Callable[[list[Pair]], Engine]) -> None:
    engine = store(TWO)
    page = open_page()
    left, right = answers_on(page)
    page.text_input[1].input("shorter")
    choose(page, "left")
    sound(page.button(key="undo-button").click().run())
    assert "your answer was **left**" in words(page)
    assert answers_on(page) == [left, right]
    assert page.text_input[1].value == "shorter"
    choose(page, "right")
    first, second = said_by(engine, "me")
    assert (first.preferred, first.corrects) == (left, False)
    assert (second.preferred, second.corrects, second.rationale) == (right, True, "shorter")
    assert second.assignment_id == first.assignment_id
    assert "saved 1 ✓" in words(page)
    assert shown(page)[:2] == ["user", "question 1"]


def test_the_last_answer_can_be_looked_at_and_kept(store: Callable[[list[Pair]], Engine]) -> None:
    engine = store(TWO)
    page = open_page()
    assert page.button(key="undo-button").disabled
    choose(page, "skip")
    for _ in range(2):
        sound(page.button(key="undo-button").click().run())
    assert shown(page)[:2] == ["user", "question 1"]
    assert len(said_by(engine, "me")) == 1


def test_when_nothing_is_left_the_page_says_what_to_do(store: Callable[[list[Pair]], Engine]) -> None:
    store(TWO[:1])
    page = choose(open_page(), "tie")
    assert "Nothing left to label" in words(page)
    assert "prefloop generate" in words(page)
    assert not page.button(key="undo-button").disabled


def test_one_who_is_done_is_told_that_others_are_not(store: Callable[..., Engine]) -> None:
    store(TWO[:1], overlap=3)
    assert "2 judgments are owed by other annotators" in words(choose(open_page(), "tie"))


def test_two_people_have_their_own_tasks_and_one_cannot_change_the_others_answer(
    store: Callable[..., Engine],
) -> None:
    engine = store(TWO, overlap=2)
    page = choose(open_page("ann"), "left")
    page.text_input(key="annotator").set_value("bob")
    sound(page.run())
    assert page.button(key="undo-button").disabled
    choose(page, "right")
    assert [said.choice for name in ("ann", "bob") for said in said_by(engine, name)] == ["left", "right"]


def test_a_lost_lease_is_told_calmly_and_the_next_task_is_shown(store: Callable[[list[Pair]], Engine]) -> None:
    engine = store(TWO)
    page = open_page("ann")
    with writing(engine) as session:  # ann's lease runs out, and bob is quicker
        bob = annotators.ensure(session, "bob", "human").id
        ann = annotators.ensure(session, "ann", "human").id
        comparisons.next_assignment(session, ann, lease_seconds=0)
    with writing(engine) as session:
        task = comparisons.next_assignment(session, bob)
        assert task is not None
        judgments.submit(session, task.assignment_id, bob, "tie")
    choose(page, "left")
    assert said_by(engine, "ann") == []
    assert "Not saved: the lease" in words(page)
    assert "question 1" in shown(page)


def test_one_who_may_not_label_is_told_why(store: Callable[[list[Pair]], Engine]) -> None:
    engine = store(TWO)
    with writing(engine) as session:
        annotators.disable(session, annotators.ensure(session, "ann", "human").id)
    page = open_page("ann")
    assert shown(page) == ["annotator ann is disabled; ask a manager to give them another account."]
    page.text_input(key="annotator").set_value("bob")
    assert "question 0" in shown(sound(page.run()))


def test_a_long_text_is_shown_in_part_until_all_of_it_is_asked_for(store: Callable[[list[Pair]], Engine]) -> None:
    long = "word " * LONG
    store([(question("tell me"), long, "short")])
    page = open_page()
    assert max(map(len, shown(page))) <= LONG + 2
    assert page.toggle[0].label == f"show all {len(long):,} characters"
    assert long.strip() in shown(sound(page.toggle[0].set_value(True).run()))


def test_text_of_others_is_never_markdown(store: Callable[[list[Pair]], Engine]) -> None:
    evil = '![x](http://images.example.invalid/a.png) <img src="http://images.example.invalid/b.png">'
    store([([{"role": "user", "content": evil + " user"}], evil + " one", evil + " two")])
    page = open_page("![x](http://images.example.invalid/name.png)")
    assert sum("images.example.invalid" in text for text in shown(page)) == 3
    assert not any("images.example.invalid" in element.value for element in page.markdown)
    assert not any("images.example.invalid" in button.label for button in page.button)


def test_a_comparison_of_more_than_two_can_only_be_skipped(store: Callable[..., Engine]) -> None:
    engine = store([(question("which?"), "one", "two", "three")])
    page = open_page()
    assert sorted(shown(page)[-3:]) == ["one", "three", "two"]
    choose(page, "skip")
    assert [said.choice for said in said_by(engine, "me")] == ["skip"]


def test_without_a_store_the_page_says_how_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFLOOP_STORE_URL", raising=False)
    page = sound(AppTest.from_file(str(PAGE)).run())
    assert "python -m labeling_ui --store-url" in page.info[0].value
