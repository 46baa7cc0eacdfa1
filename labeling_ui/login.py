"""Logging in and out by password: two small pages of plain HTML, which need no script, and what their forms do.

A form is believed when it came from our own page: it repeats a random token that a cookie holds (which no other site
can read), and the browser, if it says where it was sent from, says here.
"""

import base64
import hashlib
import hmac
import math
import secrets
from html import escape
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl

import anyio
from anyio.to_thread import run_sync
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from db import logins
from db.engine import writing
from db.logins import LoginRefused
from labeling_ui import identity, store

CSRF_COOKIE = "prefloop_csrf"
LARGEST_FORM = 16 * 1024  # bytes: a password of the longest, in letters that take twelve bytes each, and a name

_YEAR = 365 * 24 * 3600  # seconds that a browser keeps the token; the store decides how long it is worth something
_STYLE = (Path(__file__).parent / "login.css").read_text()
_STYLE_SHA256 = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_SHA256}'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
}
_LATE = "This page was open for too long, or cookies are off. Please try again."
SameSite = Literal["lax", "strict"]

_checking = anyio.CapacityLimiter(2)  # passwords at once: each takes 64 MB


class LogIn(HTTPEndpoint):
    """GET shows the form, or the pages to whom is logged in; POST logs in."""

    async def get(self, request: Request) -> Response:
        if await _person(request):
            return _go("/")
        return _login_page(request)

    async def post(self, request: Request) -> Response:
        form = await _form(request)
        name, password = form.get("name", ""), form.get("password", "")
        if not _is_ours(request, form):
            return _login_page(request, name, _LATE, 403)
        address = request.client.host if request.client else ""
        try:
            token = await run_sync(_open_login, name, password, address, limiter=_checking)
        except LoginRefused as refusal:
            page = _login_page(request, name, f"{str(refusal).capitalize()}.", 429 if refusal.wait else 401)
            if refusal.wait:
                page.headers["Retry-After"] = str(math.ceil(refusal.wait.total_seconds()))
            return page
        response = _go("/")
        _set_cookie(response, request, identity.COOKIE, token, "lax", max_age=_YEAR)
        return response


class LogOut(HTTPEndpoint):
    """GET asks, POST ends the login of this browser."""

    async def get(self, request: Request) -> Response:
        person = await _person(request)
        return _logout_page(request, person.name) if person else _go("/login")

    async def post(self, request: Request) -> Response:
        person = await _person(request)
        if person and not _is_ours(request, await _form(request)):
            return _logout_page(request, person.name, _LATE, 403)
        await run_sync(_close_login, request.cookies.get(identity.COOKIE, ""))
        response = _go("/login")
        response.delete_cookie(identity.COOKIE)
        return response


ROUTES = [Route("/login", LogIn), Route("/logout", LogOut)]


def _open_login(name: str, password: str, address: str) -> str:
    return logins.open_login(store.engine(), name, password, address)


def _close_login(token: str) -> None:
    with writing(store.engine()) as session:
        logins.revoke(session, token)


async def _person(request: Request) -> identity.Person | None:
    return await run_sync(identity.of_token, request.cookies.get(identity.COOKIE, ""))


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form that was sent; HTTPException when it is none of ours, or too large."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise HTTPException(415)
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_FORM:
            raise HTTPException(413)
    try:
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=8))
    except ValueError as error:
        raise HTTPException(400) from error


def _is_ours(request: Request, form: dict[str, str]) -> bool:
    """Whether the form was sent from a page of this server, to this browser."""
    origin, host = request.headers.get("origin"), request.headers.get("host")
    if origin is not None and origin not in (f"https://{host}", f"http://{host}"):
        return False
    held, repeated = request.cookies.get(CSRF_COOKIE, ""), form.get("csrf", "")
    return held != "" and hmac.compare_digest(held.encode(), repeated.encode())


def _login_page(request: Request, name: str = "", problem: str = "", status: int = 200) -> Response:
    fields = f"""
      <label for="name">Name</label>
      <input id="name" name="name" value="{escape(name)}" maxlength="60" autocomplete="username" autocapitalize="none"
        spellcheck="false" required{"" if name else " autofocus"}>
      <label for="password">Password</label>
      <input id="password" name="password" type="password" maxlength="{logins.LONGEST}" required
        autocomplete="current-password"{" autofocus" if name else ""}>
      <button>Log in</button>"""
    return _page(request, "Log in", "/login", fields, problem, status)


def _logout_page(request: Request, name: str, problem: str = "", status: int = 200) -> Response:
    fields = f"""
      <p>You are logged in as <b>{escape(name)}</b>. What you said is saved.</p>
      <button>Log out</button>
      <a href="/">Back to labeling</a>"""
    return _page(request, "Log out", "/logout", fields, problem, status)


def _page(request: Request, title: str, action: str, fields: str, problem: str, status: int) -> Response:
    csrf = request.cookies.get(CSRF_COOKIE) or secrets.token_urlsafe(32)
    told = f'\n      <p class="problem" role="alert">{escape(problem)}</p>' if problem else ""
    response = HTMLResponse(
        f"""<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <link rel="icon" href="data:,">
    <title>{title} · prefloop</title>
    <style>{_STYLE}</style>
  </head>
  <body>
    <main>
      <p class="brand">prefloop</p>
      <h1>{title}</h1>{told}
      <form method="post" action="{action}">
      <input type="hidden" name="csrf" value="{escape(csrf)}">{fields}
      </form>
    </main>
  </body>
</html>
""",
        status_code=status,
        headers=_HEADERS,
    )
    _set_cookie(response, request, CSRF_COOKIE, csrf, "strict")
    return response


def _set_cookie(
    response: Response, request: Request, name: str, value: str, same_site: SameSite, max_age: int | None = None
) -> None:
    secure = request.url.scheme == "https"
    response.set_cookie(name, value, max_age=max_age, httponly=True, samesite=same_site, secure=secure)


def _go(place: str) -> Response:
    return RedirectResponse(place, 303, {"Cache-Control": "no-store"})
