"""Logging in by OpenID Connect: what a provider says about a person, and the way to one and back.

The provider here is our own, on this machine, and says what the tests tell it to. No real one was tried.
"""

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from browser import Pair, free_port, question, seed, sqlite_url
from guarded import Guarded, guarding
from joserfc import jwt
from joserfc.jwk import RSAKey
from playwright.sync_api import Browser, expect
from sqlalchemy import Engine

from db import annotators
from db.engine import reading, writing
from labeling_ui import identity

PAIRS: list[Pair] = [(question("question"), "one", "two")]
PROOF: dict[str, object] = {"is_logged_in": True, "iss": "https://id.example.org", "sub": "17"}


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"name": "Ann Smith", "email": "ann@example.org"}, "Ann Smith"),
        ({"preferred_username": "ann"}, "ann"),
        ({"email": "ann@example.org"}, "ann@example.org"),
        ({"name": ""}, "somebody"),
        ({"name": ["Ann"]}, "['Ann']"),
    ],
)
def test_a_provider_names_a_person_by_issuer_and_subject(engine: Engine, claims: dict[str, object], name: str) -> None:
    person = identity.of_claims(engine, {**PROOF, **claims})
    assert person is not None and (person.name, person.role) == (name, "annotator")
    assert identity.of_claims(engine, {**PROOF, "name": "Eve"}) == person
    other = identity.of_claims(engine, {**PROOF, **claims, "sub": "18"})
    assert other is not None and other.annotator_id != person.annotator_id


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {**PROOF, "is_logged_in": False},
        {**PROOF, "is_logged_in": "yes"},
        {"iss": PROOF["iss"], "sub": "17"},
        {"is_logged_in": True, "sub": "17", "email": "ann@example.org"},
        {**PROOF, "sub": None},
        {**PROOF, "sub": 17},
    ],
)
def test_incomplete_claims_are_nobodys(engine: Engine, claims: dict[str, object]) -> None:
    assert identity.of_claims(engine, claims) is None
    with reading(engine) as session:
        assert annotators.list_annotators(session) == []


def test_whoever_is_disabled_is_nobody_whatever_the_provider_says(engine: Engine) -> None:
    person = identity.of_claims(engine, PROOF)
    assert person is not None
    with writing(engine) as session:
        annotators.disable(session, person.annotator_id)
    assert identity.of_claims(engine, PROOF) is None


@dataclass
class Provider:
    """An OpenID Connect provider that lets everybody in, as whomever `claims` says."""

    claims: dict[str, str]
    port: int = field(default_factory=free_port)
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "1"}))
    nonces: dict[str, str] = field(default_factory=dict)  # by code

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str, query: dict[str, str]) -> object:
        """What to send as JSON; a text is an address to go to."""
        match path:
            case "/.well-known/openid-configuration":
                pages = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/keys"}
                return {"issuer": self.url, **{name: self.url + page for name, page in pages.items()}}
            case "/authorize":
                code = secrets.token_urlsafe(8)
                self.nonces[code] = query["nonce"]
                return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"
            case "/token":
                now = int(time.time())
                told = {"iss": self.url, "aud": "prefloop", "iat": now, "exp": now + 60, **self.claims}
                told["nonce"] = self.nonces.pop(query["code"])
                token = jwt.encode({"alg": "RS256", "kid": "1"}, told, self.key)
                return {"access_token": "a", "token_type": "Bearer", "expires_in": 60, "id_token": token}
            case _:
                return {"keys": [self.key.as_dict(private=False)]}


@contextmanager
def providing(provider: Provider) -> Iterator[Provider]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            said = address.query or self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
            answer = provider.answer(address.path, {name: values[0] for name, values in parse_qs(said).items()})
            self.send_response(302 if isinstance(answer, str) else 200)
            self.send_header("Location", answer) if isinstance(answer, str) else None
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", provider.port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield provider
        server.shutdown()


def test_one_logs_in_at_the_provider_and_comes_back_as_an_annotator(tmp_path: Path, browser: Browser) -> None:
    engine = seed(sqlite_url(tmp_path), PAIRS)
    file = tmp_path / "secrets.toml"
    server = Guarded(sqlite_url(tmp_path), options={"auth": "oidc", "secrets": file})
    with providing(Provider({"sub": "17", "name": "Ann <b>Smith</b>"})) as provider:
        file.write_text(
            f"""[auth]
redirect_uri = "{server.url}/oauth2callback"
cookie_secret = "{secrets.token_hex(32)}"
client_id = "prefloop"
client_secret = "for this test only"
server_metadata_url = "{provider.url}/.well-known/openid-configuration"
"""
        )
        with guarding(server):
            page = browser.new_page()
            page.goto(server.url)
            button = page.get_by_role("button", name="Log in")
            expect(button).to_be_visible(timeout=15_000)
            with reading(engine) as session:
                assert annotators.list_annotators(session) == []  # nobody is made for a stranger
            button.click()
            expect(page.get_by_role("button", name="begin")).to_be_visible(timeout=20_000)
            with reading(engine) as session:
                (ann,) = annotators.list_annotators(session)
                assert (ann.name, ann.role) == ("Ann <b>Smith</b>", "annotator")
                assert (ann.oidc_issuer, ann.oidc_subject) == (provider.url, "17")
            page.get_by_test_id("stExpandSidebarButton").click()
            expect(page.get_by_text("Ann <b>Smith</b>")).to_be_visible()
            with writing(engine) as session:
                annotators.disable(session, ann.id)
            page.get_by_role("button", name="begin").click()
            expect(page.get_by_text("You may not label here any more")).to_be_visible(timeout=15_000)
            page.get_by_role("button", name="Log out").click()
            expect(button).to_be_visible(timeout=15_000)
            page.close()
    engine.dispose()
