"""The labeling UI for people who log in: its server, a store with people in it, and a browser of plain HTTP."""

import functools
import http.client
import itertools
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from argon2 import PasswordHasher
from browser import Pair, Server, question, seed, sqlite_url
from sqlalchemy import Engine, delete

from db import annotators
from db.engine import writing
from db.tables import LoginFailure
from labeling_ui import launch

PAIRS: list[Pair] = [(question(f"question {n}"), f"one {n}", f"two {n}") for n in range(4)]
SECRET = "correct horse"
FORM = "application/x-www-form-urlencoded"
HTML = {"Accept": "text/html"}
NUMBERS = itertools.count(1)


@dataclass
class Guarded(Server):
    """A server that is started with these options of `launch.command`."""

    options: dict[str, Any] = field(default_factory=lambda: {"auth": "password"})

    def start(self) -> None:
        argv, environment = launch.command(self.store_url, self.port, **self.options)
        self.process = subprocess.Popen(argv, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < deadline, "the server did not start"
            time.sleep(0.1)


@contextmanager
def guarding(server: Guarded) -> Iterator[Guarded]:
    try:
        server.start()
        yield server
    finally:
        server.kill()


@dataclass(frozen=True)
class Site:
    server: Server
    engine: Engine


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: str

    @property
    def place(self) -> str | None:
        """Where it sends the browser."""
        return self.headers["Location"]


@dataclass
class Visitor:
    """A browser of plain HTTP: keeps cookies, follows nothing, and sends what it is told to."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)
    always: dict[str, str] = field(default_factory=dict)  # headers of every request

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        cookies = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        connection.request(method, path, body, {**(cookies if self.cookies else {}), **self.always, **headers})
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read().decode() if response.status != 101 else "")
        connection.close()
        for cookie in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value.strip('"')
        return answer

    def send(self, path: str, form: Mapping[str, str], headers: Mapping[str, str] = {}) -> Answer:
        return self.ask("POST", path, urlencode(form).encode(), {"Content-Type": FORM, **headers})

    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.ask("GET", "/login").body)
        assert found
        return found.group(1)

    def log_in(self, name: str, password: str = SECRET, headers: Mapping[str, str] = {}) -> Answer:
        return self.send("/login", {"name": name, "password": password, "csrf": self.csrf()}, headers)

    def stream(self) -> int:
        """The status of a handshake for the channel through which pages are shown and answered."""
        handshake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        return self.ask(
            "GET", "/_stcore/stream", None, {**handshake, "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg=="}
        ).status

    @property
    def is_in(self) -> bool:
        page, stream = self.ask("GET", "/", None, HTML), self.stream()
        assert (page.status, stream) in {(200, 101), (303, 403)}
        return page.status == 200


@contextmanager
def opened_site(folder: Path) -> Iterator[Site]:
    """A server over a new store, which asks everybody about every pair."""
    engine = seed(sqlite_url(folder), PAIRS, overlap=99)
    with guarding(Guarded(sqlite_url(folder))) as server:
        yield Site(server, engine)
    engine.dispose()


def newcomer(engine: Engine) -> str:
    """The name of somebody new, whose password is SECRET and whose address has guessed nothing yet."""
    name = f"person {next(NUMBERS)}"
    with writing(engine) as session:
        annotators.add(session, name).password_hash = _password_hash()
        session.execute(delete(LoginFailure))
    return name


@functools.cache
def _password_hash() -> str:
    """Of SECRET: made once, because it takes its time."""
    return PasswordHasher().hash(SECRET)
