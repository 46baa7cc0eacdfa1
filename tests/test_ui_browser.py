"""Labeling with a real keyboard and mouse in Chromium: one press is one judgment, on the pair that was on screen."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from browser import Desk, Pair, Said, Server, profile_at, question, said_by, seed, serving, sqlite_url
from playwright.sync_api import Browser, BrowserContext, expect
from sqlalchemy import Engine, select

from db import annotators
from db.engine import reading
from db.tables import Assignment

PAIRS: list[Pair] = [(question(f"question {n}"), f"one answer to {n}", f"another answer to {n}") for n in range(31)]


@dataclass(frozen=True)
class Site:
    server: Server
    engine: Engine

    def said(self, desk: Desk) -> list[Said]:
        return said_by(self.engine, desk.name)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server whose store asks everybody about every pair: each test labels under a name of its own."""
    url = sqlite_url(tmp_path_factory.mktemp("store"))
    engine = seed(url, PAIRS, overlap=99)
    with serving(url) as server:
        yield Site(server, engine)
    engine.dispose()


@pytest.fixture(scope="module")
def profile(browser: Browser, site: Site) -> Iterator[BrowserContext]:
    with profile_at(site.server, browser) as profile:
        yield profile


@pytest.fixture
def come(profile: BrowserContext, request: pytest.FixtureRequest) -> Iterator[Callable[..., Desk]]:
    """Opens the label page, under the name of the test unless another is given."""
    desks: list[Desk] = []

    def come(server: Server, name: str | None = None) -> Desk:
        desks.append(Desk(profile.new_page(), name or request.node.name[5:60]))
        return desks[-1].open(server)

    yield come
    for desk in desks:
        desk.page.close()


@pytest.fixture
def desk(come: Callable[..., Desk], site: Site) -> Desk:
    """Somebody who has sat down: the first pair is on screen and can be answered."""
    return come(site.server).begin()


def label(
    desk: Desk, count: int, acts: list[tuple[str, str]], act: Callable[[str], None]
) -> list[tuple[str, str | None]]:
    """Answer that many questions by the acts in turn; what should have been stored."""
    expected: list[tuple[str, str | None]] = []
    for number in range(count):
        left, right = desk.look().sides()
        how, choice = acts[number % len(acts)]
        expected.append((choice, {"left": left, "right": right}.get(choice)))
        act(how)
        desk.saved(number + 1)
    return expected


def test_thirty_pairs_are_labeled_by_keyboard_up_to_the_goal(come: Callable[..., Desk], site: Site) -> None:
    desk = come(site.server).begin(goal=30)
    keys = {"1": "left", "2": "right", "ArrowLeft": "left", "ArrowRight": "right", "0": "tie", "b": "both_bad"}
    acts = [*keys.items(), ("i", "identical"), ("s Enter", "skip"), ("f 2", "flag")]

    def press(how: str) -> None:
        desk.press(how.split()[0])
        if " " in how:
            desk.page.wait_for_timeout(250)  # a second press at once would be taken for a bouncing finger
            desk.press(how.split()[1])

    expected = label(desk, 30, acts, press)
    said = site.said(desk)
    assert [(one.choice, one.preferred) for one in said] == expected
    assert all(one.response_ms is not None and 600 <= one.response_ms < 30_000 for one in said)
    assert len({one.assignment_id for one in said}) == 30
    expect(desk.page.get_by_text("Your goal is reached")).to_be_visible()
    desk.press("f")
    expect(desk.page.get_by_role("heading", name="Your session")).to_be_visible()
    expect(desk.page.locator("dl.figures dd").first).to_have_text("30")
    expect(desk.page.get_by_text("no question came back in this session")).to_be_visible()
    assert desk.hosts - {"blob", "data"} == {site.server.url.removeprefix("http://")}


def test_thirty_pairs_are_labeled_by_mouse(come: Callable[..., Desk], site: Site) -> None:
    desk = come(site.server).begin(goal=31)
    acts = [(choice, choice) for choice in ("left", "right", "tie", "both_bad", "identical")]
    expected = label(desk, 30, acts, lambda choice: desk.button(choice).click())
    assert [(one.choice, one.preferred) for one in site.said(desk)] == expected


def test_a_held_key_labels_once(desk: Desk, site: Site) -> None:
    for _ in range(12):
        desk.page.keyboard.down("1")  # the second and later ones are repeats, as of a held key
        desk.page.wait_for_timeout(120)
    desk.page.keyboard.up("1")
    desk.page.wait_for_timeout(500)
    assert len(site.said(desk)) == 1


def test_a_double_click_labels_once(desk: Desk, site: Site) -> None:
    desk.button("left").dblclick()
    desk.saved(1)
    desk.page.wait_for_timeout(500)
    assert len(site.said(desk)) == 1


def test_five_presses_in_150_ms_label_one(desk: Desk, site: Site) -> None:
    for _ in range(5):
        desk.press("2")
        desk.page.wait_for_timeout(30)
    desk.page.wait_for_timeout(700)
    assert len(site.said(desk)) == 1


def test_a_press_before_anybody_can_have_read_is_told_and_labels_nothing(desk: Desk, site: Site) -> None:
    desk.press("1")
    desk.saved(1)  # the next pair has only just come
    desk.press("1")
    desk.note("too quick")
    desk.look().press("1")
    desk.saved(2)
    assert len(site.said(desk)) == 2


def test_keys_with_modifiers_and_keys_typed_in_the_field_choose_nothing(desk: Desk, site: Site) -> None:
    desk.press("Control+b", "Alt+1", "w")
    why = desk.page.get_by_label("why?")
    expect(why).to_be_focused()
    desk.page.keyboard.type("1 2 0 b s u ?")
    desk.press("Enter", "Control+Enter")
    desk.page.wait_for_timeout(400)
    assert site.said(desk) == []
    desk.press("1")
    desk.saved(1)
    assert site.said(desk)[0].rationale == "1 2 0 b s u ?"
    expect(why).to_have_value("")


def test_a_typed_reason_is_stored_with_a_mouse_click_and_keys_are_heard_after_it(desk: Desk, site: Site) -> None:
    sides = desk.sides()
    desk.page.get_by_label("why?").fill("the second one lies")
    desk.button("left").click()
    desk.saved(1)
    desk.look().press("2")
    desk.saved(2)
    first, _ = site.said(desk)
    assert (first.preferred, first.rationale) == (sides[0], "the second one lies")


def test_a_reload_keeps_the_pair_its_order_what_was_typed_and_the_way_back(desk: Desk, site: Site) -> None:
    desk.press("1")
    desk.saved(1)
    before = desk.look().sides()
    desk.page.get_by_label("why?").fill("half a thou")
    desk.page.reload()
    assert desk.look().sides() == before
    expect(desk.page.get_by_label("why?")).to_have_value("half a thou")
    desk.note("saved 1 ✓")
    desk.press("u")
    desk.note("Your last answer was “left”")
    desk.look().press("2")
    desk.note("saved 1 ✓")
    assert desk.look().sides() == before
    expect(desk.page.get_by_label("why?")).to_have_value("half a thou")
    desk.press("2")
    desk.saved(2)
    assert [(said.choice, said.corrects) for said in site.said(desk)] == [
        ("left", False),
        ("right", True),
        ("right", False),
    ]
    assert site.said(desk)[2].preferred == before[1]


def test_what_was_typed_is_there_in_another_browser(desk: Desk, site: Site, profile: BrowserContext) -> None:
    desk.page.get_by_label("why?").fill("said in the train")
    desk.page.wait_for_timeout(2500)  # typing has paused
    assert profile.browser
    elsewhere = profile.browser.new_context()
    other = Desk(elsewhere.new_page(), desk.name).open(site.server).look()
    expect(other.page.get_by_label("why?")).to_have_value("said in the train")
    elsewhere.close()


def test_the_last_answer_is_changed_or_kept_by_key(desk: Desk, site: Site) -> None:
    sides = desk.sides()
    desk.press("1")
    desk.saved(1)
    desk.press("u")
    desk.note("Your last answer was “left”")
    assert desk.look().sides() == sides
    desk.press("Escape")
    desk.saved(1)
    desk.look().press("u")
    desk.note("Your last answer was “left”")
    desk.look().press("2")
    desk.saved(1)
    assert [(said.preferred, said.corrects) for said in site.said(desk)] == [(sides[0], False), (sides[1], True)]


def test_the_keys_are_shown_and_choose_nothing_then(desk: Desk, site: Site) -> None:
    desk.press("?")
    overview = desk.page.get_by_role("dialog", name="Keys")
    expect(overview).to_contain_text("the left answer is better")
    desk.press("1")
    desk.press("?")
    expect(overview).to_be_hidden()
    assert site.said(desk) == []
    desk.press("1")
    desk.saved(1)


def test_who_reads_for_long_keeps_the_pair_by_being_there(site: Site, profile: BrowserContext) -> None:
    desk = Desk(profile.new_page(), "a slow reader")
    desk.page.clock.install()
    desk.open(site.server).begin()

    def lease_ends() -> datetime:
        with reading(site.engine) as session:
            reader = annotators.by_name(session, desk.name).id
            return session.scalars(select(Assignment.expires_at).where(Assignment.annotator_id == reader)).one()

    before = lease_ends()
    desk.page.mouse.wheel(0, 10)
    desk.page.wait_for_timeout(500)
    assert lease_ends() == before  # once a minute is enough
    desk.page.clock.fast_forward(61_000)
    desk.page.mouse.wheel(0, 10)
    desk.page.wait_for_timeout(1000)
    assert lease_ends() > before
    desk.page.close()


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_usual_texts_and_all_choices_fit_the_window(desk: Desk, width: int, height: int) -> None:
    desk.page.set_viewport_size({"width": width, "height": height})
    for act in ("left", "right", "tie", "both_bad", "identical", "skip", "flag", "undo"):
        expect(desk.button(act)).to_be_in_viewport(ratio=1)
    too_wide = (
        "[document.documentElement, document.querySelector('.stMain')].some((e) => e.scrollWidth > e.clientWidth)"
    )
    assert not desk.page.evaluate(too_wide)
    assert desk.page.evaluate("document.querySelector('.stMain').scrollHeight - innerHeight") <= 0
    desk.page.set_viewport_size({"width": 1280, "height": 800})


@pytest.mark.parametrize("hand", ["mouse", "key"])
def test_after_kill_9_nothing_is_lost_and_a_press_lands_on_the_pair_on_screen(
    come: Callable[..., Desk], tmp_path: Path, hand: str
) -> None:
    engine = seed(sqlite_url(tmp_path), PAIRS)
    with serving(sqlite_url(tmp_path)) as server:
        desk = come(server).begin()
        first = desk.sides()
        desk.press("1")
        desk.saved(1)
        second = desk.look().sides()
        server.kill()
        server.start()
        desk.connected()
        assert desk.sides() == second
        desk.button("right").click() if hand == "mouse" else desk.press("2")
        desk.saved(2)
        third = desk.look().sides()

        server.kill()
        desk.page.get_by_label("why?").fill("typed while nobody listens")
        desk.button("right").click() if hand == "mouse" else desk.press("Escape", "2")
        desk.note("Not saved yet")
        assert desk.sides() == third
        assert len(said_by(engine, desk.name)) == 2
        server.start()
        desk.saved(3)
        said = said_by(engine, desk.name)
        assert [one.preferred for one in said] == [first[0], second[1], third[1]]
        assert said[2].rationale == "typed while nobody listens"
    engine.dispose()


@pytest.mark.parametrize("overlap", [1, 2])
def test_two_browsers_share_a_queue_and_nothing_is_doubled(
    come: Callable[..., Desk], tmp_path: Path, overlap: int
) -> None:
    count = 8
    engine = seed(sqlite_url(tmp_path), PAIRS[:count], overlap)
    with serving(sqlite_url(tmp_path)) as server:
        desks = [come(server, name).begin() for name in ("ann", "bob")]
        expected: dict[str, list[str]] = {"ann": [], "bob": []}
        for number in range(count * overlap // 2):
            for desk in desks:
                sides = desk.look().sides()
                desk.press("12"[number % 2])
                expected[desk.name].append(sides[number % 2])
            for desk in desks:
                desk.saved(number + 1)
        for desk in desks:
            expect(desk.page.get_by_text("Nothing left to label")).to_be_visible()
        said = {name: said_by(engine, name) for name in expected}
        assert {name: [one.preferred for one in all_of] for name, all_of in said.items()} == expected
        pairs = Counter(str(one.preferred).split(" to ")[1] for all_of in said.values() for one in all_of)
        assert pairs == {str(n): overlap for n in range(count)}
    engine.dispose()
