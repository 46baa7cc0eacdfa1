"""Headers that keep a page from fetching, running or being framed by anything that is not ours.

The pages show what models wrote. They show it as plain text; should some of it be rendered after all, the policy
still lets nothing leave for another host. Styles are inline because Streamlit writes them so; `blob:` scripts are
how it loads the inline JavaScript of a component.
"""

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'wasm-unsafe-eval' blob:",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self'",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{what} {sources}" for what, sources in _POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Not "no-referrer": with it a browser hides from our own forms' target that they are ours (Origin: null).
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_HTTPS_ONLY = {"Strict-Transport-Security": "max-age=31536000"}  # a year; to a browser that came by https


class SecurityHeaders:
    """ASGI middleware: every HTTP response carries `HEADERS`, save those that it sets itself, more strictly."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in headers_for(scope).items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)


def headers_for(scope: Scope) -> dict[str, str]:
    return HEADERS | _HTTPS_ONLY if scope["scheme"] == "https" else HEADERS


def broken(request: Request, error: Exception) -> Response:
    """The answer to a request that failed inside: it is sent outside of every middleware. The log has the reason."""
    return PlainTextResponse("Internal Server Error", status_code=500, headers=headers_for(request.scope))
