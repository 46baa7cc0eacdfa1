"""Hostile text wherever text of others is shown: nothing of it runs, nothing leaves, and the page can be used.

Each test is run as the pages are served, and once more without the Content Security Policy: what keeps us safe is that
text is never made HTML, and the policy stands behind it.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from browser import Desk, Server, profile_at, question, said_by, serving, sqlite_url
from playwright.sync_api import Browser, BrowserContext, expect
from sqlalchemy import Engine

from db import annotators, candidates, comparisons, prompts, queues, versions
from db.engine import open_store, writing
from labeling_ui import rendering

SET = "window.planted=1"
LISTENER = "http://LISTENER"  # stands for its address
HOSTILE = {
    "script": f"<script>{SET};fetch('{LISTENER}/script')</script>",
    "onerror": f"<img src=x onerror=\"{SET};fetch('{LISTENER}/onerror')\">",
    "javascript link": f"[look](javascript:{SET}) <a href='javascript:{SET}'>here</a> <javascript:{SET}>",
    "image in Markdown": f"![x]({LISTENER}/markdown.png) ![y][1]\n\n[1]: {LISTENER}/reference.png",
    "image in HTML": f"<img src='{LISTENER}/html.png'><picture><source srcset='{LISTENER}/srcset.png'></picture>",
    "label or tooltip": f"\"><img src={LISTENER}/label.png> :material/home: [![x]({LISTENER}/l.png)]({LISTENER})' x='",
    "iframe and svg": (
        f"<iframe src='{LISTENER}/frame'></iframe><svg onload='{SET}'><image href='{LISTENER}/svg'/></svg>"
    ),
    "style": f"<style>@import '{LISTENER}/css';</style><p style='background:url({LISTENER}/background)'>p</p>",
    "right to left": "safe \u202egnp.exe \u2067isolated \u200fmarks",
    "zero width": "in\u200bvi\u200dsi\u2060ble\ufeff" * 40,
    "a line of 1 MB": "x" * 1_000_000,
    "LaTeX bomb": (
        r"$\def\a{\a\a}\a$ $\newcommand{\b}[1]{\frac{#1}{#1}}\b{\b{\b{\b{\b{\b{\b{\b{1}}}}}}}}$ $" + "{" * 900 + "$ "
        rf"$\href{{{LISTENER}/href}}{{x}} \includegraphics{{{LISTENER}/tex.png}} \rule{{9999em}}{{9999em}}$ "
        r"\(\url{a}\)"
    ),
    "ANSI": "\x1b[31mred\x1b[0m \x1b]8;;http://example.invalid\x07link\x1b]8;;\x07 \x9b2J",
    "null bytes": "be\x00tween \x00",
}


@dataclass
class Listener:
    """A web server that must not be asked for anything."""

    server: ThreadingHTTPServer
    hits: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    hits: list[str] = []

    class Recorder(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hits.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Listener(server, hits)
    server.shutdown()


@dataclass(frozen=True)
class Site:
    server: Server
    engine: Engine
    profiles: dict[bool, BrowserContext]  # one keeps to the policy, and one goes past it
    texts: dict[str, str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, browser: Browser, listener: Listener) -> Iterator[Site]:
    """A server whose store holds each hostile text as prompt, candidates, guidelines and name of a queue."""
    url = sqlite_url(tmp_path_factory.mktemp("store"))
    engine = open_store(url)
    texts = {kind: text.replace(LISTENER, listener.url) for kind, text in HOSTILE.items()}
    with writing(engine) as session:
        base = versions.ensure_base(session, "tiny", "0" * 64)
        for place, text in enumerate(texts.values()):
            name = f"{place:02} {text[:400]}"
            queue = queues.create(session, name, guidelines=text, priority=-place)
            prompt_id = prompts.add(session, question(text)).id
            pair = [text + " of one", "of the other " + text]
            answers = [candidates.Completion(prompt_id, i, answer, 4, "stop", -1.5) for i, answer in enumerate(pair)]
            candidates.store(session, base.id, {}, 0, answers)
            asked = [one.id for one in candidates.of_version(session, base.id, {}, 0, [prompt_id])]
            comparisons.create(session, queue.id, prompt_id, asked, overlap=99)
    with (
        serving(url) as server,
        profile_at(server, browser) as bound,
        profile_at(server, browser, bypass_csp=True) as free,
    ):
        yield Site(server, engine, {True: bound, False: free}, texts)
    engine.dispose()


@pytest.mark.parametrize("policy", [True, False], ids=["with-policy", "without-policy"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_does_nothing_and_the_page_can_be_used(
    site: Site, listener: Listener, kind: str, policy: bool
) -> None:
    listener.hits.clear()
    text = site.texts[kind]
    profile = site.profiles[policy]
    page = profile.new_page()
    opened: list[str] = []
    page.on("dialog", lambda dialog: opened.append(dialog.message))
    profile.on("page", lambda other: opened.append(other.url))
    name = f"{'p' if policy else 'n'}{list(HOSTILE).index(kind)} {text[:40]}"
    desk = Desk(page, name).open(site.server)
    page.locator("label.queue").nth(1 + list(HOSTILE).index(kind)).click()  # the first is everything
    expect(page.locator(".guidelines")).to_be_visible()
    desk.begin()
    desk.press("r")
    expect(page.locator(".text.rendered, .text.empty, button.rest").first).to_be_visible()
    desk.press("d")
    expect(desk.button("differences")).to_have_attribute("aria-pressed", "true")
    if desk.button("whole").count():
        desk.press("x")
        expect(desk.button("whole")).to_have_attribute("aria-pressed", "true", timeout=20_000)
        desk.press("r")
        expect(desk.button("rendered")).to_have_attribute("aria-pressed", "true", timeout=20_000)
        desk.press("x")
    desk.press("g")
    expect(page.get_by_role("dialog", name="Guidelines")).to_be_visible()
    desk.press("Escape")
    typed = text[:2000].replace("\n", " ")
    page.get_by_label("why?").fill(typed)
    desk.press("Escape", "1")
    desk.saved(1)
    desk.press("u")
    desk.note("Your last answer was “left”")
    expect(page.get_by_label("why?")).to_have_value(typed.replace("\x00", "\ufffd").strip())
    desk.press("u")
    expect(page.get_by_text("Nothing left to label")).to_be_visible()

    assert page.evaluate("window.planted") is None
    assert page.locator("iframe, img[src*='127.0.0.1'], a[href^='javascript']").count() == 0
    assert opened == []
    assert listener.hits == []
    assert desk.hosts - {"blob", "data"} == {site.server.url.removeprefix("http://")}
    page.close()
    (said,) = [one for one in said_by(site.engine, annotators.clean_name(name)) if not one.corrects]
    assert (said.choice, said.rationale) == ("left", typed.replace("\x00", "\ufffd").strip())


@pytest.mark.parametrize("kind", HOSTILE)
def test_rendered_text_is_made_of_known_nodes_without_an_address(kind: str) -> None:
    nodes = rendering.tree(HOSTILE[kind])
    assert kind == "a line of 1 MB" or nodes is not None
    for node in walk(nodes or []):
        assert set(node) <= {"tag", "children", "tex", "start"}
        assert node["tag"] not in ("a", "img", "script", "style", "iframe", "svg")


def walk(nodes: list[rendering.Node]) -> Iterator[dict[str, Any]]:
    for node in nodes:
        if not isinstance(node, str):
            yield node
            yield from walk(node.get("children", []))


@pytest.mark.parametrize("text", ["*a " * 6000, "[" * 20_000, "![" * 10_000, "> " * 10_000, "$" * 20_000, "a\n" * 9000])
def test_text_made_to_be_slow_is_rendered_all_the_same(text: str) -> None:
    started = time.process_time()
    rendering.tree(text)
    assert time.process_time() - started < 5


def test_no_script_of_the_sheet_parses_html() -> None:
    for script in Path(rendering.__file__).parent.glob("*.js"):
        source = script.read_text(encoding="utf-8")
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "DOMParser",
            "createContextualFragment",
            "document.write",
        ):
            assert word not in source, script.name
