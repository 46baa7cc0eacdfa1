"""A real Chromium, a real server of the labeling UI, a store with pairs for them, and a person at the label page."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Request, expect, sync_playwright
from sqlalchemy import Engine, select

from db import candidates, comparisons, prompts, queues, versions
from db.engine import open_store, reading, writing
from db.tables import Annotator, Assignment, Candidate, Judgment
from labeling_ui import launch

# The headless shell is Chromium without the browser around its pages: it needs a fourth less of the processor for them.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--process-per-site",  # the tabs of a profile share a process, and what it has compiled of the pages' scripts
]

Pair = tuple[list[dict[str, str]], str, str]  # messages, and the two answers


@dataclass(frozen=True)
class Said:
    """A stored judgment, in words."""

    assignment_id: int
    choice: str
    preferred: str | None
    rationale: str
    response_ms: int | None
    corrects: bool
    strength: int | None = None
    ranking: list[list[str]] | None = None  # texts, best first
    ratings: dict[str, int] | None = None
    written: str | None = None
    reason: str | None = None


def question(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def seed(store_url: str, pairs: list[Pair], overlap: int = 1) -> Engine:
    """A store that asks `overlap` people about each of the pairs."""
    engine = open_store(store_url)
    with writing(engine) as session:
        base = versions.ensure_base(session, "tiny", "0" * 64)
        queue = queues.ensure(session, queues.DEFAULT)
        for messages, *texts in pairs:
            prompt_id = prompts.add(session, messages).id
            completions = [candidates.Completion(prompt_id, i, text, 4, "stop", -1.5) for i, text in enumerate(texts)]
            candidates.store(session, base.id, {}, 0, completions)
            ids = [candidate.id for candidate in candidates.of_version(session, base.id, {}, 0, [prompt_id])]
            comparisons.create(session, queue.id, prompt_id, ids, overlap=overlap)
    return engine


def said_by(engine: Engine, name: str) -> list[Said]:
    """Everything that the annotator said, corrections too, in order."""
    query = (
        select(Judgment)
        .join(Assignment, Assignment.id == Judgment.assignment_id)
        .join(Annotator, Annotator.id == Assignment.annotator_id)
        .where(Annotator.name == name)
        .order_by(Judgment.id)
    )
    with reading(engine) as session:
        texts = {row.id: row.text for row in session.execute(select(Candidate.id, Candidate.text))}
        return [
            Said(
                assignment_id=row.assignment_id,
                choice=row.choice,
                preferred=texts.get(row.preferred_id or 0),
                rationale=row.rationale,
                response_ms=row.response_ms,
                corrects=row.supersedes_id is not None,
                strength=row.strength,
                ranking=[[texts[each] for each in group] for group in row.ranking] if row.ranking else None,
                ratings=row.ratings,
                written=row.written,
                reason=row.reason,
            )
            for row in session.scalars(query)
        ]


@dataclass
class Server:
    """The labeling UI over one store, on a port of its own that it keeps when it is started again."""

    store_url: str
    port: int = field(default_factory=lambda: free_port())
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        argv, environment = launch.command(self.store_url, self.port)
        self.process = subprocess.Popen(argv, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not self._answers():
            assert self.process.poll() is None, "the server of the labeling UI ended at once"
            assert time.monotonic() < deadline, "the server of the labeling UI did not answer within 30 s"
            time.sleep(0.1)

    def kill(self) -> None:
        """kill -9: nothing is said goodbye to."""
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1) as response:
                return bool(response.status == 200)
        except OSError:
            return False


@contextmanager
def serving(store_url: str) -> Iterator[Server]:
    server = Server(store_url)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def chromium() -> Iterator[Browser]:
    """A Chromium. Tests take the fixture `browser`, one for all; profiles keep them apart."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=ARGS)
        yield browser
        browser.close()


@contextmanager
def profile_at(server: Server, browser: Browser, **options: Any) -> Iterator[BrowserContext]:
    """A browser profile for all tests at a server: to open a page in it costs half of what it does in a new one.

    The files of the page are fetched once, and its scripts are compiled once, because a tab that stays open keeps the
    process alive. Nothing moves, because drawing every step of a movement costs more than the page.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce", **options)
    context.new_page().goto(f"{server.url}/_stcore/health")
    yield context
    context.close()


@dataclass
class Desk:
    """The label page, as the person before it uses it."""

    page: Page
    name: str
    hosts: set[str] = field(default_factory=set)  # of everything that the page asked for

    def open(self, server: Server) -> "Desk":
        """Come to the page, where a session is chosen or goes on."""
        self.page.on("request", lambda request: self.hosts.add(_host(request)))
        self.page.goto(f"{server.url}/?annotator={quote(self.name)}")
        expect(self.page.locator(".desk :is(.page, .choices)")).to_be_visible(timeout=20_000)
        return self

    def begin(self, queue: str | None = None, goal: int | None = None) -> "Desk":
        """Sit down to label."""
        if queue is not None:
            self.page.locator("label.queue", has=self.page.get_by_text(queue, exact=True)).click()
        if goal is not None:
            self.page.get_by_label("goal", exact=True).fill(str(goal))
        self.press("Enter")
        return self.look()

    def look(self) -> "Desk":
        """Wait until a question has been on screen for so long that an answer counts."""
        expect(self.page.locator(".choices[data-open]:not(.pending)")).to_be_visible(timeout=20_000)
        return self

    def connected(self) -> None:
        """Wait until the page has found its server again."""
        expect(self.page.locator(".stApp[data-test-connection-state=CONNECTED]")).to_be_visible(timeout=20_000)

    def sides(self) -> list[str]:
        return self.page.locator(".answers .text").all_inner_texts()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def button(self, act: str) -> Locator:
        return self.page.locator(f"button[data-act='{act}']")

    def note(self, text: str) -> None:
        """Wait for a note or the receipt, in its place."""
        expect(self.page.locator(".receipt")).to_contain_text(text, timeout=10_000)

    def saved(self, count: int) -> None:
        """Wait for the receipt, where another question or the end of the session follows it."""
        expect(self.page.locator(".receipt")).to_have_text(f"saved {count} ✓", timeout=10_000)


def _host(request: Request) -> str:
    scheme, _, rest = request.url.partition(":")
    return scheme if scheme in ("blob", "data") else rest.removeprefix("//").partition("/")[0]


def executable() -> str:
    """The path of a Chromium; installed by apt-get where we may, otherwise the test fails and says what to install."""
    # One process installs, the others wait.
    with FileLock(Path(tempfile.gettempdir(), f"prefloop-chromium-{os.getuid()}.lock")):
        if not _found() and os.geteuid() == 0 and shutil.which("apt-get"):
            subprocess.run(["apt-get", "update"], check=False)  # a new machine knows no package list
            for package in NAMES[:2]:  # not every distribution has the first
                if not _found():
                    subprocess.run(["apt-get", "install", "--yes", "--no-install-recommends", package], check=False)
    found = _found()
    assert found, f"none of {', '.join(NAMES)} is in PATH; install the package {NAMES[0]} or {NAMES[1]}"
    return found


def _found() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'store.db'}"
