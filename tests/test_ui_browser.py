"""Labeling with a real keyboard and mouse in Chromium: one press is one judgment, on the pair that was on screen."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from browser import Pair, Said, Server, chromium, question, said_by, seed, serving, sqlite_url
from playwright.sync_api import BrowserContext, Locator, Page, Request, expect
from sqlalchemy import Engine

EVIL = '![x](http://images.example.invalid/a.png) <img src="http://images.example.invalid/b.png"> answer'
PAIRS: list[Pair] = [(question(f"question {n} {EVIL}"), f"one {n} {EVIL}", f"two {n} {EVIL}") for n in range(6)]


@pytest.fixture(scope="module")
def profile() -> Iterator[BrowserContext]:
    """One browser profile: the files of the page are fetched once for all tests."""
    with chromium() as browser:
        yield browser.new_context(viewport={"width": 1280, "height": 800})


@dataclass(frozen=True)
class Site:
    server: Server
    engine: Engine


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server whose store asks everybody about every pair: each test labels under a name of its own."""
    url = sqlite_url(tmp_path_factory.mktemp("store"))
    engine = seed(url, PAIRS, overlap=99)
    with serving(url) as server:
        yield Site(server, engine)
    engine.dispose()


@dataclass
class Desk:
    """The label page, as the person before it uses it."""

    page: Page
    engine: Engine
    name: str
    hosts: set[str] = field(default_factory=set)  # of everything that the page asked for

    def open(self, server: Server) -> "Desk":
        self.page.on("request", lambda request: self.hosts.add(host(request)))
        self.page.goto(f"{server.url}/?annotator={self.name}")
        return self.look()

    def look(self) -> "Desk":
        """Wait until the screen is complete and has been seen for long enough: its keys are named then."""
        expect(self.page.locator(".stApp[data-test-script-state=notRunning]")).to_be_visible(timeout=15_000)
        expect(self.page.locator(".st-key-choices button[aria-keyshortcuts]").first).to_be_visible(timeout=15_000)
        return self

    def connected(self) -> None:
        """Wait until the page has found its server again."""
        expect(self.page.locator(".stApp[data-test-connection-state=CONNECTED]")).to_be_visible(timeout=20_000)

    def sides(self) -> list[str]:
        return self.page.locator(".st-key-answers .stText").all_inner_texts()

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def button(self, choice: str) -> Locator:
        """The newest, where a task that was answered is still on its way out."""
        return self.page.locator(f"[class*='st-key-{choice}-'] button").last

    def saved(self, count: int) -> None:
        """Wait for the receipt."""
        expect(self.page.get_by_text(f"saved {count} ✓")).to_be_visible(timeout=10_000)

    def said(self) -> list[Said]:
        return said_by(self.engine, self.name)


def host(request: Request) -> str:
    scheme, _, rest = request.url.partition(":")
    return scheme if scheme in ("blob", "data") else rest.removeprefix("//").partition("/")[0]


@pytest.fixture
def sit(profile: BrowserContext, request: pytest.FixtureRequest) -> Iterator[Callable[[Server, Engine], Desk]]:
    """Opens the label page under the name of the test."""
    pages: list[Page] = []

    def sit(server: Server, engine: Engine) -> Desk:
        pages.append(profile.new_page())
        return Desk(pages[-1], engine, request.node.name[5:60]).open(server)

    yield sit
    for page in pages:
        page.close()


@pytest.fixture
def desk(sit: Callable[[Server, Engine], Desk], site: Site) -> Desk:
    return sit(site.server, site.engine)


def test_six_pairs_are_labeled_by_keyboard_and_mouse_and_nothing_is_fetched_elsewhere(desk: Desk, site: Site) -> None:
    expected = []
    acts = [("1", "left"), ("2", "right"), ("click", "left"), ("click", "right"), ("b", "both_bad"), ("click", "skip")]
    for number, (act, choice) in enumerate(acts, 1):
        left, right = desk.look().sides()
        expected.append((choice, {"left": left, "right": right}.get(choice)))
        desk.button(choice).click() if act == "click" else desk.press(act)
        desk.saved(number)
    expect(desk.page.get_by_text("Nothing left to label")).to_be_visible()
    said = desk.said()
    assert [(one.choice, one.preferred) for one in said] == expected
    assert all(one.response_ms is not None and 600 <= one.response_ms < 20_000 for one in said)
    assert desk.hosts - {"blob", "data"} == {site.server.url.removeprefix("http://")}


def test_a_held_key_labels_once(desk: Desk) -> None:
    for _ in range(12):
        desk.page.keyboard.down("1")  # the second and later ones are repeats, as of a held key
        desk.page.wait_for_timeout(120)
    desk.page.keyboard.up("1")
    desk.page.wait_for_timeout(500)
    assert len(desk.said()) == 1


def test_a_double_click_labels_once(desk: Desk) -> None:
    desk.button("left").dblclick()
    desk.saved(1)
    desk.page.wait_for_timeout(500)
    assert len(desk.said()) == 1


def test_two_clicks_a_moment_apart_label_once(desk: Desk) -> None:
    desk.button("left").click()
    desk.saved(1)
    desk.button("left").click()
    desk.page.wait_for_timeout(700)
    assert len(desk.said()) == 1


def test_five_presses_in_150_ms_label_one(desk: Desk) -> None:
    for _ in range(5):
        desk.press("2")
        desk.page.wait_for_timeout(30)
    desk.saved(1)
    desk.page.wait_for_timeout(500)
    assert len(desk.said()) == 1


def test_keys_with_modifiers_and_keys_typed_in_the_field_choose_nothing(desk: Desk) -> None:
    desk.press("Control+b")
    why = desk.page.get_by_placeholder("why? (optional)")
    why.click()
    desk.page.keyboard.type("1 2 0 b s u")
    desk.page.wait_for_timeout(500)
    assert desk.said() == []
    desk.press("Escape")
    desk.press("1")
    desk.saved(1)
    assert desk.said()[0].rationale == "1 2 0 b s u"


def test_a_typed_reason_is_stored_with_a_mouse_click(desk: Desk) -> None:
    sides = desk.sides()
    desk.page.get_by_placeholder("why? (optional)").fill("the second one lies")
    desk.button("left").click()
    desk.saved(1)
    (said,) = desk.said()
    assert (said.preferred, said.rationale) == (sides[0], "the second one lies")


def test_a_reload_keeps_the_assignment_and_its_order(desk: Desk) -> None:
    desk.press("1")
    desk.saved(1)
    before = desk.sides()
    desk.page.reload()
    assert desk.look().sides() == before
    desk.press("2")
    desk.saved(2)
    assert desk.said()[1].preferred == before[1]


def test_the_last_answer_is_changed_by_key(desk: Desk) -> None:
    sides = desk.sides()
    desk.press("1")
    desk.saved(1)
    desk.press("u")
    expect(desk.page.get_by_text("your answer was left")).to_be_visible()
    assert desk.look().sides() == sides
    desk.press("2")
    desk.saved(1)
    assert [(said.preferred, said.corrects) for said in desk.said()] == [(sides[0], False), (sides[1], True)]
    assert desk.look().sides() != sides


def test_usual_texts_need_no_scrolling(desk: Desk) -> None:
    overflow = "document.querySelector('.stMain').scrollHeight - document.querySelector('.stMain').clientHeight"
    assert desk.page.evaluate(overflow) <= 0
    expect(desk.button("left")).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("hand", ["mouse", "key"])
def test_after_kill_9_nothing_is_lost_and_a_press_lands_on_the_pair_on_screen(
    sit: Callable[[Server, Engine], Desk], tmp_path: Path, hand: str
) -> None:
    engine = seed(sqlite_url(tmp_path), PAIRS)
    with serving(sqlite_url(tmp_path)) as server:
        desk = sit(server, engine)
        sides_before = desk.sides()
        desk.press("1")
        desk.saved(1)
        sides = desk.look().sides()
        server.kill()
        if hand == "key":
            desk.press("2")  # into the void: no receipt says that it was saved
        server.start()
        desk.connected()
        assert desk.sides() == sides
        assert len(desk.said()) == 1
        desk.button("right").click() if hand == "mouse" else desk.press("2")
        desk.saved(2)
        assert [said.preferred for said in desk.said()] == [sides_before[0], sides[1]]
        assert desk.look().sides() != sides
    engine.dispose()
