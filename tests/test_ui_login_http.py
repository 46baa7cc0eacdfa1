"""Logging in to a real server by plain HTTP, as whoever means harm would."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from browser import free_port, sqlite_url
from guarded import FORM, HTML, SECRET, Answer, Guarded, Site, Visitor, guarding, newcomer, opened_site
from sqlalchemy import Engine, select, text
from starlette.types import Message, Receive, Scope, Send
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState

from db import annotators, logins
from db.engine import open_store, reading, writing
from db.tables import Login, LoginFailure
from labeling_ui import identity
from labeling_ui.gate import Gate
from labeling_ui.login import LARGEST_FORM
from labeling_ui.security import HEADERS


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with opened_site(tmp_path_factory.mktemp("store")) as site:
        yield site


@pytest.fixture
def name(site: Site) -> str:
    return newcomer(site.engine)


@pytest.fixture
def visitor(site: Site) -> Visitor:
    return Visitor(site.server.port)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 303),
        ("GET", "/account", 303),
        ("GET", "/login/", 303),
        ("GET", "/_stcore/health/", 303),
        ("GET", "//login", 303),
        ("GET", "/_stcore/host-config", 401),
        ("GET", "/_stcore/metrics", 401),
        ("GET", "/_stcore/bidi-components/x", 401),
        ("GET", "/media/0123456789", 401),
        ("GET", "/static/js/index.js", 401),
        ("GET", "/index.html", 401),
        ("PUT", "/_stcore/upload_file/session/file", 401),
        ("POST", "/", 401),
    ],
)
def test_a_stranger_gets_the_login_page_and_nothing_else(visitor: Visitor, method: str, path: str, status: int) -> None:
    answer = visitor.ask(method, path, headers=HTML if status == 303 else {})
    assert answer.status == status
    assert answer.place == ("/login" if status == 303 else None)
    assert answer.body in ("", "log in first, at /login")
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_stranger_gets_no_channel_and_may_ask_for_the_servers_health(visitor: Visitor) -> None:
    assert visitor.stream() == 403
    visitor.cookies[identity.COOKIE] = "guessed"
    assert visitor.stream() == 403
    assert visitor.ask("GET", "/_stcore/health").body == "ok"


def test_the_right_password_opens_the_pages_with_a_token_that_no_script_reads(
    visitor: Visitor, name: str, site: Site
) -> None:
    answer = visitor.log_in(name)
    assert (answer.status, answer.place, answer.body) == (303, "/", "")
    (cookie,) = (cookie for cookie in answer.headers.get_all("Set-Cookie") or [] if identity.COOKIE in cookie)
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "path=/", "samesite=lax"} <= attributes
    assert "secure" not in attributes  # it came by http, and would be lost
    assert visitor.is_in
    assert (visitor.ask("GET", "/login").status, visitor.ask("GET", "/login").place) == (303, "/")
    with reading(site.engine) as session:
        assert visitor.cookies[identity.COOKIE] not in session.scalars(select(Login.token_sha256)).all()


@pytest.mark.parametrize(
    ("form", "cookie", "headers"),
    [
        ({"csrf": "wrong"}, "right", {}),
        ({"csrf": ""}, "right", {}),
        ({}, "right", {}),
        ({"csrf": "right"}, None, {}),
        ({"csrf": "right"}, "wrong", {}),
        ({"csrf": ""}, "", {}),
        ({"csrf": "é"}, "right", {}),
        ({"csrf": "right"}, "right", {"Origin": "https://evil.example.org"}),
        ({"csrf": "right"}, "right", {"Origin": "null"}),
        ({"csrf": "right"}, "right", {"Origin": "http://["}),
    ],
)
def test_a_form_that_is_not_our_own_logs_nobody_in(
    visitor: Visitor, name: str, form: dict[str, str], cookie: str | None, headers: dict[str, str]
) -> None:
    right = visitor.csrf()
    words = {"right": right, "wrong": right[::-1]}
    form = {key: words.get(value, value) for key, value in form.items()}
    visitor.cookies = {} if cookie is None else {"prefloop_csrf": words.get(cookie, cookie)}
    answer = visitor.send("/login", {"name": name, "password": SECRET, **form}, headers)
    assert answer.status == 403
    assert identity.COOKIE not in visitor.cookies
    assert "Please try again" in answer.body


def test_a_form_of_our_own_page_is_believed_when_the_browser_says_so(visitor: Visitor, name: str, site: Site) -> None:
    assert visitor.log_in(name, headers={"Origin": site.server.url}).status == 303


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/login", "/logout"])
def test_other_methods_are_not_allowed(visitor: Visitor, method: str, path: str) -> None:
    assert visitor.ask(method, path).status == 405


def test_a_head_request_gets_the_head_of_the_page(visitor: Visitor) -> None:
    answer = visitor.ask("HEAD", "/login")
    assert (answer.status, answer.body) == (200, "")


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"x" * (LARGEST_FORM + 1), FORM, 413),
        (b'{"name": "ann"}', "application/json", 415),
        (b"--x\r\n", "multipart/form-data; boundary=x", 415),
        (b"name=ann", "", 415),
        (b"&".join([b"name=ann"] * 50), FORM, 400),
        (b"\xff\xfe%ff%00", FORM, 403),
        (b"", FORM, 403),
    ],
)
def test_a_body_that_is_no_login_form_is_refused(visitor: Visitor, body: bytes, content_type: str, status: int) -> None:
    assert visitor.ask("POST", "/login", body, {"Content-Type": content_type}).status == status


@pytest.mark.parametrize("password", ["x" * 1001, "x" * 12_000, "\x00", ""])
def test_an_odd_password_is_just_wrong(visitor: Visitor, name: str, password: str) -> None:
    assert visitor.log_in(name, password).status == 401


@pytest.mark.parametrize(
    "typed", ["nobody", "", "\x00", "x" * 3000, "\u202e", "' OR 1=1 --", "admin\r\nSet-Cookie: a=b"]
)
def test_a_name_that_is_nobodys_gets_the_same_words_as_a_wrong_password(
    visitor: Visitor, name: str, typed: str
) -> None:
    def told(answer: Answer) -> tuple[int, str]:
        (problem,) = re.findall(r'role="alert">([^<]*)<', answer.body)
        return answer.status, problem

    expected = (401, "This name and this password do not belong together; try again.")
    assert told(visitor.log_in(typed)) == told(visitor.log_in(name, "wrong password")) == expected


def test_a_name_with_a_script_in_it_is_shown_as_text(visitor: Visitor, site: Site) -> None:
    evil = "\"><script>alert('1')</script>"
    assert "<script" not in visitor.log_in(evil, "wrong password").body
    visitor.cookies["prefloop_csrf"] = "%22%3E%3Cscript%3E<script>"
    assert "<script" not in visitor.ask("GET", "/login").body
    visitor.cookies.clear()
    with writing(site.engine) as session:
        logins.set_password(session, annotators.add(session, evil).id, SECRET)
    assert visitor.log_in(evil).status == 303
    page = visitor.ask("GET", "/logout").body
    assert "&lt;script&gt;alert(&#x27;1&#x27;)" in page
    assert "<script" not in page


def test_the_sixth_attempt_is_refused_right_password_or_not(visitor: Visitor, name: str) -> None:
    for _ in range(5):
        assert visitor.log_in(name, "wrong password").status == 401
    answer = visitor.log_in(name)
    assert answer.status == 429
    assert "Too many wrong passwords; wait 15 minutes and try again." in answer.body
    assert 880 <= int(answer.headers["Retry-After"]) <= 900
    assert not visitor.is_in


def test_a_token_is_worth_nothing_after_logging_out(visitor: Visitor, name: str) -> None:
    visitor.log_in(name)
    token = visitor.cookies[identity.COOKIE]
    answer = visitor.send("/logout", {"csrf": visitor.cookies["prefloop_csrf"]})
    assert (answer.status, answer.place) == (303, "/login")
    assert visitor.cookies[identity.COOKIE] == ""
    visitor.cookies[identity.COOKIE] = token
    assert not visitor.is_in


@pytest.mark.parametrize("tamper", [lambda t: t[:-1], lambda t: t + "A", lambda t: t.swapcase(), lambda t: "a" * 5000])
def test_a_token_that_was_tampered_with_is_worth_nothing(visitor: Visitor, name: str, tamper: object) -> None:
    visitor.log_in(name)
    assert visitor.is_in
    visitor.cookies[identity.COOKIE] = tamper(visitor.cookies[identity.COOKIE])  # type: ignore[operator]
    assert not visitor.is_in


@pytest.mark.parametrize("form", [{}, {"csrf": "wrong"}])
def test_nobody_is_logged_out_by_a_form_of_another_site(visitor: Visitor, name: str, form: dict[str, str]) -> None:
    visitor.log_in(name)
    assert visitor.send("/logout", form).status == 403
    assert visitor.ask("GET", "/logout").status == 200
    assert visitor.is_in


def test_whoever_is_disabled_is_out_at_once(visitor: Visitor, name: str, site: Site) -> None:
    visitor.log_in(name)
    with writing(site.engine) as session:
        annotators.disable(session, annotators.by_name(session, name).id)
    assert not visitor.is_in
    assert visitor.log_in(name).status == 401


def test_a_proxy_is_not_believed_where_there_is_none(visitor: Visitor, name: str, site: Site) -> None:
    visitor.always = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.7"}
    answer = visitor.log_in(name, "wrong password")
    assert answer.headers["Strict-Transport-Security"] is None
    with reading(site.engine) as session:
        assert session.scalars(select(LoginFailure.address)).all() == ["127.0.0.1"]
    assert "Secure" not in str(visitor.log_in(name).headers)


def test_behind_a_proxy_cookies_are_secure_and_the_visitors_address_counts(tmp_path: Path) -> None:
    engine = open_store(sqlite_url(tmp_path))
    with writing(engine) as session:
        logins.set_password(session, annotators.add(session, "ann").id, SECRET)
    options = {"auth": "password", "behind_proxy": True, "host_names": ["labels.example.org"]}
    with guarding(Guarded(sqlite_url(tmp_path), options=options)) as server:
        https = {
            "Host": "labels.example.org", "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9, 198.51.100.7",
        }  # fmt: skip
        visitor = Visitor(server.port, always=https)
        assert visitor.log_in("ann", "wrong password").status == 401
        with reading(engine) as session:  # the proxy has added the last one; what is before it, anybody can write
            assert session.scalars(select(LoginFailure.address)).all() == ["198.51.100.7"]
        answer = visitor.log_in("ann", headers={"Origin": "https://labels.example.org"})
        assert answer.status == 303
        assert all("; secure" in cookie.lower() for cookie in answer.headers.get_all("Set-Cookie") or ["none"])
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        assert visitor.is_in
        visitor.always["X-Forwarded-Proto"] = "http"
        assert visitor.ask("GET", "/login").headers["Strict-Transport-Security"] is None
        assert Visitor(server.port, visitor.cookies, {"Host": "evil.example.org"}).stream() == 403
    engine.dispose()


def test_every_answer_has_the_security_headers(visitor: Visitor, name: str, site: Site) -> None:
    answers = [
        visitor.ask("GET", "/", headers=HTML),
        visitor.ask("GET", "/media/nothing"),
        visitor.ask("PUT", "/login"),
        visitor.ask("POST", "/login", b"{}", {"Content-Type": "application/json"}),
        visitor.ask("GET", "/_stcore/health"),
        visitor.ask("GET", "/login"),
        visitor.log_in(name, "wrong password"),
        visitor.log_in(name),
        visitor.ask("GET", "/", headers=HTML),
        visitor.ask("GET", "/logout"),
        visitor.ask("GET", "/_stcore/agent/nothing"),
        visitor.ask("GET", "/media/nothing"),
        visitor.ask("GET", "/..%2f..%2fetc/passwd"),
    ]
    with site.engine.begin() as connection:
        connection.execute(text("ALTER TABLE login RENAME TO gone"))
    answers.append(visitor.ask("GET", "/"))
    with site.engine.begin() as connection:
        connection.execute(text("ALTER TABLE gone RENAME TO login"))
    statuses = [answer.status for answer in answers]
    assert statuses == [303, 401, 405, 415, 200, 200, 401, 303, 200, 200, 404, 404, 400, 500]
    assert answers[-1].body == "Internal Server Error"
    for answer in answers:
        for header, value in HEADERS.items():
            if header != "Content-Security-Policy":
                assert answer.headers[header] == value
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy or "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy and "script-src 'unsafe" not in policy


def test_no_page_of_a_login_is_kept_in_a_cache(visitor: Visitor, name: str) -> None:
    pages = [
        visitor.ask("GET", "/login"),
        visitor.log_in(name),
        visitor.ask("GET", "/logout"),
        visitor.ask("GET", "/login"),
    ]
    assert [page.headers["Cache-Control"] for page in pages] == ["no-store"] * 4


def test_the_first_admin_is_told_once_and_can_log_in(tmp_path: Path) -> None:
    def start(port: int) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "labeling_ui", "--store-url", sqlite_url(tmp_path), "--auth", "password"]
        process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.PIPE, text=True)
        told = ""
        assert process.stdout
        while "URL:" not in told:
            told += process.stdout.readline()
        return process, told

    port = free_port()
    process, told = start(port)
    try:
        found = re.search(r"name +admin\n +password +(\S+)\n", told)
        assert found
        visitor = Visitor(port)
        wait_for(visitor)
        assert visitor.log_in("admin", found.group(1)).status == 303
        process.kill()
        process.wait()
        process, told = start(port)
        assert "password" not in told
        wait_for(visitor)
        assert visitor.is_in  # a login outlives the server
    finally:
        process.kill()
        process.wait()


def wait_for(visitor: Visitor) -> None:
    for _ in range(100):
        try:
            assert visitor.ask("GET", "/_stcore/health").status == 200
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server did not answer within 10 s")


def test_no_page_hears_what_is_pressed_on_it_after_its_login_has_ended(
    engine: Engine, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFLOOP_STORE_URL", store_url)
    with writing(engine) as session:
        ann = annotators.add(session, "ann").id
        logins.set_password(session, ann, SECRET)
    token = logins.open_login(engine, "ann", SECRET, "")
    press = BackMsg(rerun_script=ClientState(query_string="pressed", fragment_id="of a page")).SerializeToString()
    heard: list[BackMsg] = []

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        for ends in (True, False):
            message = await receive()
            heard.append(BackMsg.FromString(message["bytes"]))
            if ends:
                with writing(engine) as session:
                    logins.revoke_all(session, ann)

    async def browser() -> Message:
        return {"type": "websocket.receive", "bytes": press}

    async def nothing(message: Message) -> None:
        raise AssertionError(f"the gate sent {message}")

    cookie = f"{identity.COOKIE}={token}".encode()
    scope = {"type": "websocket", "path": "/", "headers": [(b"cookie", cookie)]}
    with start_blocking_portal() as portal:  # in a thread of its own: the browser's driver may have a loop in this one
        portal.call(Gate(page), scope, browser, nothing)
    assert heard == [BackMsg.FromString(press), BackMsg(rerun_script=ClientState())]
