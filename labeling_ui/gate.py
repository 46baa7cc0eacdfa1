"""The gate before everything that the server serves, where people log in with a password."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState

from labeling_ui import identity

OPEN = {"/login", "/logout", "/_stcore/health"}
NO_STORE = {"Cache-Control": "no-store"}

# "Run the page", and nothing about what was pressed on it.
_PLAIN_RERUN = BackMsg(rerun_script=ClientState()).SerializeToString()


class Gate:
    """ASGI middleware: who is not logged in gets the login page, and nothing else of the server but its health.

    A page outlives its login: what is pressed on it afterwards is not heard, the page is only run again. It says then
    that nobody is logged in. (A press reaches its callback before the page could ask who presses.)
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in OPEN):
            await self.app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        token = request.cookies.get(identity.COOKIE, "")

        async def logged_in() -> bool:
            return await run_in_threadpool(identity.of_token, token) is not None

        async def heard() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive" and not await logged_in():
                return {"type": "websocket.receive", "bytes": _PLAIN_RERUN}
            return message

        if await logged_in():
            await self.app(scope, heard if scope["type"] == "websocket" else receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(1008)(scope, receive, send)
        elif "text/html" in request.headers.get("accept", ""):
            await RedirectResponse("/login", 303, NO_STORE)(scope, receive, send)
        else:
            await PlainTextResponse("log in first, at /login", 401, NO_STORE)(scope, receive, send)
