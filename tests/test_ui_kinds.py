"""Every kind of question by keyboard, in Chromium, and every screen as somebody who cannot see it well meets it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from browser import Desk, Said, Server, profile_at, question, said_by, serving, sqlite_url
from playwright.sync_api import Browser, BrowserContext, expect
from sqlalchemy import Engine

from db import annotators, candidates, comparisons, prompts, queues, versions
from db.engine import open_store, writing
from db.words import QueueKind

GUIDELINES = "Prefer the answer that is true."
KINDS: dict[str, tuple[QueueKind, int]] = {  # candidates of a comparison, by queue
    "pairs": ("pair", 2),
    "strengths": ("pair", 2),
    "rankings": ("ranking", 4),
    "ratings": ("rating", 1),
    "thumbs": ("thumbs", 1),
    "edits": ("edit", 1),
    "demonstrations": ("demonstration", 0),
}
ASPECTS = ["helpful", "true", "kind"]
BOUNCE_MS = 250  # longer than a finger bounces


@dataclass(frozen=True)
class Site:
    server: Server
    engine: Engine

    def said(self, desk: Desk) -> list[Said]:
        return said_by(self.engine, desk.name)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server whose store has a queue of each kind and asks everybody everything."""
    url = sqlite_url(tmp_path_factory.mktemp("store"))
    engine = open_store(url)
    with writing(engine) as session:
        for name in ("axe in the light", "axe in the dark"):
            annotators.ensure(session, name, "human")  # to them Streamlit shows no menu, whose list is not well-formed
        base = versions.ensure_base(session, "tiny", "0" * 64)
        for name, (kind, each) in KINDS.items():
            aspects = ASPECTS if kind == "rating" else None
            queue = queues.create(
                session, name, kind, guidelines=GUIDELINES, aspects=aspects, asks_strength=name == "strengths"
            )
            for number in range(4):
                prompt_id = prompts.add(session, question(f"{name} {number}")).id
                texts = [f"answer {letter} to {name} {number}" for letter in "abcd"[:each]]
                answers = [candidates.Completion(prompt_id, i, text, 4, "stop", -1.5) for i, text in enumerate(texts)]
                candidates.store(session, base.id, {}, 0, answers)
                asked = [one.id for one in candidates.of_version(session, base.id, {}, 0, [prompt_id])]
                comparisons.create(session, queue.id, prompt_id, asked, overlap=99)
    with serving(url) as server:
        yield Site(server, engine)
    engine.dispose()


@pytest.fixture(scope="module")
def profile(browser: Browser, site: Site) -> Iterator[BrowserContext]:
    with profile_at(site.server, browser) as profile:
        yield profile


@pytest.fixture
def sit(site: Site, profile: BrowserContext, request: pytest.FixtureRequest) -> Iterator[Callable[..., Desk]]:
    """Sits down to a queue, under the name of the test unless another is given."""
    page = profile.new_page()

    def sit(queue: str | None, name: str | None = None, scheme: Literal["light", "dark"] = "light") -> Desk:
        page.emulate_media(color_scheme=scheme)
        desk = Desk(page, name or request.node.name[5:60]).open(site.server)
        return desk.begin(queue) if queue else desk

    yield sit
    page.close()


def test_a_queue_that_asks_for_the_strength_is_told_it_in_one_more_press(sit: Callable[..., Desk], site: Site) -> None:
    desk = sit("strengths")
    sides = desk.sides()
    desk.press("1", "1")  # the second is a bounce
    expect(desk.page.get_by_text("The left answer is better:")).to_be_visible()
    desk.page.wait_for_timeout(BOUNCE_MS)
    desk.press("Escape", "2")
    desk.page.wait_for_timeout(BOUNCE_MS)
    desk.press("3")
    desk.saved(1)
    desk.look().press("ArrowLeft")
    desk.page.wait_for_timeout(BOUNCE_MS)
    desk.press("Enter")
    desk.saved(2)
    first, second = site.said(desk)
    assert (first.choice, first.preferred, first.strength) == ("right", sides[1], 3)
    assert (second.choice, second.strength) == ("left", None)
    desk.look().press("u")
    desk.note("Your last answer was “left”")
    desk.look().button("left").click()
    desk.page.wait_for_timeout(BOUNCE_MS)
    desk.button("strength-2").click()
    desk.saved(2)
    assert [(said.strength, said.corrects) for said in site.said(desk)] == [(3, False), (None, False), (2, True)]


def test_a_ranking_is_given_by_numbers_with_ties_and_steps_back(sit: Callable[..., Desk], site: Site) -> None:
    desk = sit("rankings")
    texts = desk.sides()
    order = desk.page.locator(".order")
    desk.press("Enter")
    desk.note("Give every answer its place first: 1, 2, 3, 4 have none.")
    desk.press("3", "3", "2", "Backspace", "1", "=", "4")
    expect(order).to_have_text("3 › 1 = 4 › 2 last")
    desk.page.wait_for_timeout(2500)  # the order so far is in the store
    desk.page.reload()
    expect(order).to_have_text("3 › 1 = 4 › 2 last")
    desk.look().press("Enter")
    desk.saved(1)
    assert site.said(desk)[0].ranking == [[texts[2]], [texts[0], texts[3]], [texts[1]]]
    texts = desk.look().sides()
    for number in "2143":
        desk.button(f"rank-{number}").click()
    desk.button("ranked").click()
    desk.saved(2)
    assert site.said(desk)[1].ranking == [[texts[int(number) - 1]] for number in "2143"]
    desk.look().press("b")
    desk.saved(3)
    assert site.said(desk)[2].choice == "both_bad"


def test_ratings_are_given_aspect_by_aspect(sit: Callable[..., Desk], site: Site) -> None:
    desk = sit("ratings")
    desk.press("4", "Enter")
    desk.note("Not rated yet: true, kind.")
    desk.press("5", "1", "ArrowUp", "2", "Enter")
    desk.saved(1)
    assert site.said(desk)[0].ratings == {"helpful": 4, "true": 2, "kind": 1}
    desk.look()
    for aspect in reversed(ASPECTS):
        desk.page.get_by_role("button", name=f"{aspect}: 3 of 5").click()
    desk.press("Enter")
    desk.saved(2)
    assert site.said(desk)[1].ratings == {"helpful": 3, "true": 3, "kind": 3}
    desk.press("u")
    desk.note("these ratings")
    expect(desk.page.get_by_role("button", name="true: 3 of 5")).to_have_attribute("aria-pressed", "true")


def test_a_thumb_goes_up_or_down(sit: Callable[..., Desk], site: Site) -> None:
    desk = sit("thumbs")
    for number, key in enumerate(("1", "2", "ArrowUp", "ArrowDown"), 1):
        desk.look().press(key)
        desk.saved(number)
    assert [said.choice for said in site.said(desk)] == ["up", "down", "up", "down"]


def test_an_answer_is_written_better_or_left_as_it_is(sit: Callable[..., Desk], site: Site) -> None:
    desk = sit("edits")
    (original,) = desk.sides()
    text = desk.page.get_by_label("the better answer")
    expect(text).to_have_value(original)
    desk.press("Control+Enter")
    desk.note("Nothing is changed yet")
    desk.press("e", "End")
    desk.page.keyboard.type(", in 1 word")
    desk.page.reload()
    expect(text).to_have_value(f"{original}, in 1 word")
    desk.look().press("e", "Control+End")
    desk.page.keyboard.type("!")
    desk.press("Control+Enter")  # with the focus in the text: nothing of it is lost
    desk.saved(1)
    assert (site.said(desk)[0].choice, site.said(desk)[0].written) == ("written", f"{original}, in 1 word!")
    desk.look().press("1")
    desk.saved(2)
    assert (site.said(desk)[1].choice, site.said(desk)[1].written) == ("up", None)


def test_an_answer_to_a_bare_prompt_is_written_at_once(sit: Callable[..., Desk], site: Site) -> None:
    desk = sit("demonstrations")
    expect(desk.page.get_by_label("your answer")).to_be_focused()
    desk.press("Control+Enter")
    desk.note("Nothing is written yet")
    desk.page.keyboard.type("Two lines,\nof which 1 is last. s f u ?")
    desk.page.wait_for_timeout(700)
    assert site.said(desk) == []
    desk.button("written").click()
    desk.saved(1)
    assert site.said(desk)[0].written == "Two lines,\nof which 1 is last. s f u ?"
    desk.look().press("Escape", "s")
    desk.page.wait_for_timeout(BOUNCE_MS)
    desk.press("2")
    desk.saved(2)
    assert site.said(desk)[1].reason == "I do not know the subject"


def test_a_flag_has_one_of_three_reasons_and_takes_what_was_typed_with_it(sit: Callable[..., Desk], site: Site) -> None:
    desk = sit("thumbs")
    for number, key in enumerate("123", 1):
        desk.look().page.get_by_label("why?").fill(f"because {key}")
        desk.press("Escape", "f")
        desk.page.wait_for_timeout(BOUNCE_MS)
        desk.press(key)
        desk.saved(number)
    assert [(said.choice, said.reason, said.rationale) for said in site.said(desk)] == [
        ("flag", "unsafe", "because 1"),
        ("flag", "personal_data", "because 2"),
        ("flag", "broken_prompt", "because 3"),
    ]


def test_a_session_of_everything_shows_the_guidelines_of_each_queue(sit: Callable[..., Desk]) -> None:
    desk = sit("everything, by priority")
    desk.press("Escape", "g")
    expect(desk.page.get_by_role("dialog", name="Guidelines")).to_contain_text(GUIDELINES)
    desk.press("Escape")
    desk.button("end").click()
    expect(desk.page.get_by_text("nothing was answered")).to_be_visible()
    desk.press("Enter")
    expect(desk.page.get_by_text("What do you want to label?")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_mend_on_any_screen(sit: Callable[..., Desk], scheme: str) -> None:
    desk = sit(None, f"axe in the {scheme}", scheme)
    found = {"start": violations(desk)}
    for queue in KINDS:
        desk.begin(queue)
        found[queue] = violations(desk)
        if queue == "pairs":
            desk.press("r", "d", "?")
            found["keys"] = violations(desk)
            desk.press("Escape", "f")
            found["flag"] = violations(desk)
            desk.press("Escape")
        if queue == "rankings":
            desk.press("3", "1")
            found["half an order"] = violations(desk)
        if queue == "ratings":
            desk.press("4")
            found["half a rating"] = violations(desk)
        desk.button("end").click()
        expect(desk.button("again")).to_be_visible()
        found["summary"] = violations(desk)
        desk.button("again").click()
        expect(desk.button("begin")).to_be_visible()
    desk.begin("pairs", goal=1).press("1")
    expect(desk.button("go-on")).to_be_visible()
    found["goal"] = violations(desk)
    assert {screen: rules for screen, rules in found.items() if rules} == {}


def violations(desk: Desk) -> list[str]:
    """What axe-core finds wrong on the screen: rule and element."""
    found = Axe().run(desk.page).response["violations"]
    return [f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in found for node in rule["nodes"]]
