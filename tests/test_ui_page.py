"""The label page without a browser: what it is told to show, and what comes of a message."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from browser import Pair, question, said_by, seed, sqlite_url
from sqlalchemy import Connection, Engine, event
from streamlit.components.v2.bidi_component.main import _make_trigger_id
from streamlit.testing.v1 import AppTest

from db import annotators, clock, comparisons, judgments, labeling_sessions, queues
from db.engine import reading, writing
from labeling_ui import desk, difference, rendering, visit
from labeling_ui.passage import LONG, passages

PAGE = Path(visit.__file__).parent / "label.py"
TWO: list[Pair] = [(question(f"question {n}"), f"one of {n}", f"two of {n}") for n in range(2)]
Store = Callable[..., Engine]
ids = count()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Makes the store that the page is opened on."""
    engines: list[Engine] = []

    def make(pairs: list[Pair], overlap: int = 1) -> Engine:
        monkeypatch.setenv("PREFLOOP_STORE_URL", sqlite_url(tmp_path))
        engines.append(seed(sqlite_url(tmp_path), pairs, overlap))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


class Page:
    """The label page in one browser session: what it tells the sheet, and the sheet's messages to it."""

    def __init__(self, name: str = "me") -> None:
        self.app = AppTest.from_file(str(PAGE), default_timeout=30)
        self.app.query_params["annotator"] = name
        self.app.run()
        self._sound()

    @property
    def news(self) -> dict[str, Any]:
        (news,) = [part for part in self.app.get("bidi_component") if part.proto.component_name == "prefloop_news"]
        (told,) = json.loads(news.proto.json)
        return dict(told)

    @property
    def question(self) -> dict[str, Any]:
        assert self.news["screen"] == "question", self.news
        return dict(self.news["question"])

    @property
    def texts(self) -> list[str]:
        return [text["text"] for text in self.question["texts"]]

    @property
    def prompt(self) -> str:
        return str(self.question["turns"][-1]["text"])

    def say(self, kind: str, **body: Any) -> "Page":
        """One message of the sheet, as its component sends it."""
        return self.send({"id": f"test-{next(ids)}", "kind": kind, **body})

    def send(self, message: object) -> "Page":
        sheet = next(part for part in self.app.get("bidi_component") if part.proto.component_name == "prefloop_sheet")
        states = self.app._tree.get_widget_states()
        trigger = states.widgets.add()
        trigger.id = _make_trigger_id(sheet.proto.id, "events")
        trigger.json_trigger_value = json.dumps([{"event": "message", "value": message}])
        self.app._run(states)
        return self._sound()

    def begin(self, goal: int = 60, goal_kind: str = "count", queue_id: int | None = None) -> "Page":
        return self.say("start", queue_id=queue_id, goal_kind=goal_kind, goal=goal)

    def answer(self, choice: str, **said: Any) -> "Page":
        about = {name: self.question[name] for name in ("assignment_id", "replaces")}
        return self.say("answer", **about, choice=choice, response_ms=700, **said)

    def _sound(self) -> "Page":
        assert not self.app.exception, self.app.exception[0].message
        return self


def test_before_a_session_the_queues_are_offered_with_what_is_left_and_their_guidelines(store: Store) -> None:
    engine = store(TWO)
    with writing(engine) as session:
        queues.create(session, "urgent", "thumbs", guidelines="Be strict.", priority=3)
        queues.pause(session, queues.create(session, "later").id)
    news = Page().news
    assert news["screen"] == "start"
    assert [(queue["name"], queue["left"]) for queue in news["start"]["queues"]] == [
        ("everything, by priority", 2),
        ("urgent", 0),
        ("pairs", 2),
    ]
    assert news["start"]["queues"][1]["guidelines"] == "Be strict."


def test_a_single_queue_is_the_only_choice(store: Store) -> None:
    store(TWO)
    assert [queue["name"] for queue in Page().news["start"]["queues"]] == ["pairs"]


def test_a_session_goes_on_after_a_reload(store: Store) -> None:
    store(TWO)
    Page().begin(goal=7).answer("left")
    page = Page()
    assert page.prompt == "question 1"
    assert (page.news["session"]["goal"], page.news["session"]["judgments"]) == (7, 1)


def test_a_question_is_blind(store: Store) -> None:
    store(TWO)
    page = Page().begin()
    assert page.prompt == "question 0"
    assert sorted(page.texts) == ["one of 0", "two of 0"]
    told = json.dumps(page.news)
    assert not any(
        clue in told for clue in ("tiny", "v0", "version", "candidate", "purpose", "train", "gold", "repeat")
    )


def test_the_page_keeps_the_stored_order_when_it_is_opened_again(store: Store) -> None:
    store([(question("which?"), "one", "two")])
    Page().begin()
    assert len({tuple(Page().texts) for _ in range(4)}) == 1


@pytest.mark.parametrize(
    ("choice", "side"), [("left", 0), ("right", 1), ("tie", None), ("both_bad", None), ("identical", None)]
)
def test_a_choice_is_stored_once_with_the_text_on_that_side(store: Store, choice: str, side: int | None) -> None:
    engine = store(TWO)
    page = Page().begin()
    preferred = None if side is None else page.texts[side]
    page.answer(choice, rationale=" because ")
    (said,) = said_by(engine, "me")
    assert (said.choice, said.preferred, said.rationale, said.corrects) == (choice, preferred, "because", False)
    assert said.response_ms == 700
    assert page.news["session"]["judgments"] == 1
    assert page.prompt == "question 1"


def test_a_message_that_is_heard_twice_counts_once(store: Store) -> None:
    engine = store(TWO)
    page = Page().begin()
    asked = page.question["assignment_id"]
    message = {"id": "m", "kind": "answer", "assignment_id": asked, "replaces": None, "choice": "tie", "response_ms": 9}
    for _ in range(2):
        assert page.send(message).news["heard"] == "m"
    assert len(said_by(engine, "me")) == 1
    assert page.prompt == "question 1"


def test_an_answer_waits_for_the_disk_and_the_lease_of_a_question_does_not(store: Store) -> None:
    store(TWO)
    page = Page()
    waited: list[bool] = []

    @event.listens_for(Engine, "begin")
    def begun(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("sqlite_begin") == "IMMEDIATE":
            waited.append(options["durable"])

    try:
        page.begin()
        assert waited == [True, False], "the session, then the question"
        waited.clear()
        page.answer("left")
        assert waited == [True, False], "the answer, then the next question"
    finally:
        event.remove(Engine, "begin", begun)


def test_an_answer_that_was_under_way_when_the_server_died_is_taken_by_the_next_one(store: Store) -> None:
    engine = store(TWO)
    page = Page().begin()
    asked = page.question["assignment_id"]
    message = {"id": "m", "kind": "answer", "assignment_id": asked, "replaces": None, "choice": "tie", "response_ms": 9}
    for heard_by in (Page(), Page()):  # two servers that know nothing of each other
        news = heard_by.send(message).news
        assert (news["heard"], news["note"]) == ("m", "")
    assert [said.assignment_id for said in said_by(engine, "me")] == [asked]


def test_an_answer_that_an_error_cut_short_is_not_acknowledged_and_is_taken_when_it_comes_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = store(TWO)
    page = Page().begin()
    about = {"assignment_id": page.question["assignment_id"], "replaces": None}
    message = {"id": "m", "kind": "answer", **about, "choice": "tie", "response_ms": 700}

    def disk_full(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(desk, "take", disk_full)
        with pytest.raises(AssertionError, match="no space left"):
            page.send(message)
    assert said_by(engine, "me") == []
    assert page.send(message).news["heard"] == "m"
    assert [said.choice for said in said_by(engine, "me")] == ["tie"]


def test_a_session_that_was_begun_in_another_window_is_counted_from_its_own_start(store: Store) -> None:
    store(TWO)
    first, second = Page().begin(), Page()
    first.answer("left")
    second.say("end").say("again").begin(goal=9)
    assert (first.say("look").news["session"]["goal"], first.news["session"]["judgments"]) == (9, 0)


def test_a_second_window_is_told_that_the_first_answer_stands(store: Store) -> None:
    engine = store(TWO)
    first, second = Page().begin(), Page()
    first.answer("left")
    second.answer("right")
    assert "that answer stands" in second.news["note"]
    assert [said.choice for said in said_by(engine, "me")] == ["left"]


def test_an_answer_about_somebody_elses_assignment_is_refused(store: Store) -> None:
    engine = store(TWO, overlap=2)
    ann, bob = Page("ann").begin(), Page("bob").begin()
    about = {"assignment_id": ann.question["assignment_id"], "replaces": None}
    bob.say("answer", **about, choice="left", response_ms=700)
    assert "another annotator's" in bob.news["note"]
    assert said_by(engine, "ann") == said_by(engine, "bob") == []


@pytest.mark.parametrize(
    "message",
    [
        {"id": "m", "kind": "answer", "assignment_id": "1", "replaces": None, "choice": "left", "response_ms": 700},
        {"id": "m", "kind": "answer", "assignment_id": 1, "replaces": None, "choice": "best", "response_ms": 700},
        {"id": "m", "kind": "answer", "assignment_id": 1, "replaces": None, "choice": "left", "response_ms": -1},
        {"id": "m", "kind": "start", "queue_id": None, "goal_kind": "count", "goal": 0},
        {"id": "m", "kind": "drop tables"},
        {"id": "m"},
    ],
)
def test_a_message_that_the_page_does_not_send_changes_nothing(store: Store, message: object) -> None:
    engine = store(TWO)
    page = Page().begin().send(message)
    assert "reload it" in page.news["note"]
    assert page.prompt == "question 0"
    assert said_by(engine, "me") == []


@pytest.mark.parametrize("message", ["left", 7, None, ["m"], {"kind": "end"}])
def test_what_is_no_message_at_all_is_not_heard(store: Store, message: object) -> None:
    store(TWO)
    page = Page().begin()
    heard = page.news["heard"]
    assert page.send(message).news["heard"] == heard
    assert page.prompt == "question 0"


def test_what_was_typed_comes_back_after_a_reload_and_goes_with_the_answer(store: Store) -> None:
    store(TWO)
    page = Page().begin()
    asked = page.question["assignment_id"]
    page.say("draft", assignment_id=asked, content={"rationale": "because"})
    assert Page().question["draft"] == {"rationale": "because"}
    page.answer("tie")
    assert page.question["draft"] is None
    page.say("draft", assignment_id=asked, content={"rationale": "too late"})
    assert "Not saved" in page.news["note"]


def test_the_last_answer_can_be_changed_also_after_a_reload_and_is_superseded(store: Store) -> None:
    engine = store(TWO)
    page = Page().begin()
    left, right = page.texts
    page.answer("left", rationale="shorter")
    page = Page().say("change")
    assert page.texts == [left, right]
    assert (page.question["before"], page.question["draft"]["rationale"]) == ("left", "shorter")
    page.answer("right", rationale="no, longer")
    first, second = said_by(engine, "me")
    assert (first.preferred, first.corrects) == (left, False)
    assert (second.preferred, second.corrects, second.rationale) == (right, True, "no, longer")
    assert page.news["session"]["judgments"] == 1
    assert page.prompt == "question 1"


def test_the_last_answer_can_be_looked_at_and_kept(store: Store) -> None:
    engine = store(TWO)
    page = Page().begin().say("change")
    assert page.news["note"] == "There is no answer to change yet."
    page.answer("skip").say("change")
    assert page.question["before"] == "skip"
    assert page.say("keep").prompt == "question 1"
    assert len(said_by(engine, "me")) == 1


def test_a_skip_may_have_a_reason_and_a_flag_has_one(store: Store) -> None:
    engine = store(TWO)
    page = Page().begin().answer("skip", reason="too hard to judge").answer("flag", reason="personal_data")
    assert [(said.choice, said.reason) for said in said_by(engine, "me")] == [
        ("skip", "too hard to judge"),
        ("flag", "personal_data"),
    ]
    assert page.news["screen"] == "nothing"


def test_when_nothing_is_left_for_somebody_they_are_told_what_others_owe(store: Store) -> None:
    store(TWO[:1], overlap=3)
    news = Page().begin().answer("tie").news
    assert (news["screen"], news["owed"]) == ("nothing", 2)


def test_at_its_goal_a_session_asks_whether_to_go_on(store: Store) -> None:
    store(TWO)
    page = Page().begin(goal=1).answer("left")
    assert page.news["screen"] == "goal"
    assert page.say("go_on").prompt == "question 1"
    assert Page().news["screen"] == "goal"


def test_a_goal_in_minutes_is_reached_when_they_have_passed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store(TWO)
    page = Page().begin(goal=20, goal_kind="minutes").answer("left")
    assert page.news["screen"] == "question"
    later = clock.now() + timedelta(minutes=20)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert page.say("look").news["screen"] == "goal"


def test_a_session_ends_with_what_it_came_to(store: Store) -> None:
    engine = store(TWO)
    page = Page().begin().answer("left").answer("skip").say("end")
    assert page.news["screen"] == "summary"
    assert page.news["summary"] == {
        "queue": "everything, by priority",
        "judgments": 2,
        "skipped": 1,
        "flagged": 0,
        "median_ms": 700.0,
        "seconds": page.news["summary"]["seconds"],
        "repeats": 0,
        "repeats_agreed": 0,
        "gold": 0,
        "gold_hits": 0,
    }
    with reading(engine) as session:
        me = annotators.by_name(session, "me").id
        assert labeling_sessions.current(session, me) is None
    assert page.say("again").news["screen"] == "start"


def test_two_people_have_their_own_tasks_and_sessions(store: Store) -> None:
    engine = store(TWO, overlap=2)
    Page("ann").begin().answer("left")
    bob = Page("bob")
    assert bob.news["screen"] == "start"
    assert bob.begin().say("change").news["note"] == "There is no answer to change yet."
    bob.answer("right")
    assert [said.choice for name in ("ann", "bob") for said in said_by(engine, name)] == ["left", "right"]


def lose_the_lease(engine: Engine) -> None:
    """Ann's lease runs out, and bob is quicker."""
    with writing(engine) as session:
        ann = annotators.by_name(session, "ann").id
        bob = annotators.ensure(session, "bob", "human").id
        comparisons.next_assignment(session, ann, lease_seconds=0)
    with writing(engine) as session:
        task = comparisons.next_assignment(session, bob)
        assert task is not None
        judgments.submit(session, task.assignment_id, bob, judgments.Said("tie"))


@pytest.mark.parametrize("kind", ["answer", "stir"])
def test_a_lost_lease_is_told_and_the_next_task_is_shown(store: Store, kind: str) -> None:
    engine = store(TWO)
    page = Page("ann").begin()
    lose_the_lease(engine)
    if kind == "answer":
        page.answer("left")
    else:
        page.say("stir", assignment_id=page.question["assignment_id"])
    assert said_by(engine, "ann") == []
    assert "ran out" in page.news["note"]
    assert page.prompt == "question 1"


def test_one_who_may_not_label_any_more_is_told_why(store: Store) -> None:
    engine = store(TWO)
    page = Page("ann").begin()
    with writing(engine) as session:
        annotators.add(session, "an admin who stays", "admin")
        annotators.disable(session, annotators.by_name(session, "ann").id)
    page.answer("left")
    assert page.news["screen"] == "refused"
    assert "annotator ann is disabled" in page.news["why"]
    assert said_by(engine, "ann") == []


def test_every_turn_of_a_conversation_is_shown(store: Store) -> None:
    turns = [("system", "Be kind."), ("user", "An egg?"), ("assistant", "Soft or hard?"), ("user", "Soft.")]
    store([([{"role": role, "content": content} for role, content in turns], "six", "seven")])
    shown = Page().begin().question["turns"]
    assert [(turn["role"], turn["text"]) for turn in shown] == turns


def test_a_long_text_is_sent_in_part_until_all_of_it_is_asked_for(store: Store) -> None:
    long = "word " * LONG
    store([(question("tell me"), long, "short"), *TWO])
    page = Page().begin()
    assert max(map(len, page.texts)) <= LONG + 2
    assert {text["length"] for text in page.question["texts"]} == {None, len(long)}
    assert long in page.say("view", mode="plain", whole=True).texts
    page.answer("left").say("change")
    assert max(map(len, page.texts)) <= LONG + 2


def test_the_way_of_showing_texts_stays_for_the_next_question(store: Store) -> None:
    store([(question("which?"), "the red cat", "the blue cat"), *TWO])
    page = Page().begin().say("view", mode="differences", whole=False)
    marked = [[words for only, words in text["runs"] if only] for text in page.question["texts"]]
    assert sorted(marked) == [["blue "], ["red "]]
    assert page.answer("left").question["texts"][0]["runs"] is not None


def test_differences_leave_out_no_character_and_give_up_on_very_long_texts() -> None:
    left, right = "One,  two\n three.", "One, 2\n three …"
    for runs, text in zip(difference.between(left, right) or (), (left, right), strict=True):
        assert "".join(words for _, words in runs) == text
    assert difference.between("same", "same") == ([(False, "same")], [(False, "same")])
    assert difference.between("word " * (difference.MOST_WORDS + 1), "") is None


def test_rendered_text_keeps_its_words_and_names_no_address() -> None:
    nodes = rendering.tree(
        "# A\n\n**b** $x^2$ costs $5 or $6\n\n3. [c](http://h/i)\n\n$$\ny\n$$\n\n![d](http://h/j.png)"
    )
    assert nodes == [
        {"tag": "h1", "children": ["A"]},
        {
            "tag": "p",
            "children": [{"tag": "strong", "children": ["b"]}, " ", {"tag": "math", "tex": "x^2"}, " costs $5 or $6"],
        },
        {
            "tag": "ol",
            "start": 3,
            "children": [{"tag": "li", "children": [{"tag": "link", "children": ["c", " (http://h/i)"]}]}],
        },
        {"tag": "display", "tex": "y"},
        {"tag": "p", "children": [{"tag": "image", "children": ["image: d (http://h/j.png)"]}]},
    ]


def test_control_characters_are_seen() -> None:
    (shown,) = passages(["a\x00b\x1b[31mc\r\nd\te \u202efdp.exe"], whole=True)
    assert shown["text"] == "a␀b␛[31mc\nd\te ⟦RLO⟧fdp.exe"
