"""SERVE: the versions behind an OpenAI-compatible HTTP server, `GET /v1/models` and `POST /v1/chat/completions`.

One answer at a time, in the order of asking: the adapters share one base in memory, and on one device a second answer
beside the first would make both slower. Whoever goes away stops their answer at its next token.

Left out: batching answers of several people, tools, images, log-probabilities by token. An engine made for many users
(vLLM) takes what `prefloop versions export` writes.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from anyio.to_thread import run_sync
from jinja2 import TemplateError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from db.tables import Version

from .chat_api import ApiError, ChatRequest, Chunks, completion, parse, usage
from .errors import PrefloopError
from .generate import Sampling
from .language_model import LanguageModel
from .model_card import shown_name
from .served_models import ServedModels
from .speak import Piece, speak, window_of

MAX_BODY = 1_000_000  # bytes of a request
_LOCAL = ["localhost", "127.0.0.1", "::1"]
_log = logging.getLogger(__name__)


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may point anywhere


def require_safe(host: str, api_key: str | None) -> None:
    """Raises PrefloopError where others could ask without a key."""
    if not is_loopback(host) and not api_key:
        raise PrefloopError(
            f"--host {host} can be reached by others, and nobody has to show a key: put one into an environment "
            "variable and name it with --api-key-env, or stay at 127.0.0.1 and tunnel (ssh -L)"
        )


def build(models: ServedModels, settings: Sampling, api_key: str | None = None) -> Starlette:
    """The application. `settings` are those of a request that says nothing about them."""
    server = _Server(models, settings, api_key, asyncio.Lock())
    # Without a key the browser of whoever sits here is the only way in: no foreign name may lead it here.
    guard = [] if api_key else [Middleware(TrustedHostMiddleware, allowed_hosts=_LOCAL, www_redirect=False)]
    return Starlette(
        routes=[
            Route("/v1/models", server.guarded(server.list_models), methods=["GET"]),
            Route("/v1/models/{name}", server.guarded(server.show_model), methods=["GET"]),
            Route("/v1/chat/completions", server.guarded(server.chat), methods=["POST"]),
        ],
        middleware=guard,
        exception_handlers={ApiError: _refuse, HTTPException: _refuse_http, Exception: _fail},
    )


@dataclass
class _Asked:
    """A request that was understood: who answers, and how."""

    request: ChatRequest
    version: Version
    sampling: Sampling
    seed: int
    messages: list[dict[str, str]]

    def note(self, pieces: list[Piece]) -> dict[str, Any]:
        """What has to be known to repeat the answers, or to store them."""
        return {
            "version": self.version.name,
            "adapter_sha256": self.version.adapter_sha256,
            "base_sha256": self.version.base_sha256,
            "sampling": self.sampling.as_dict(),
            "seed": self.seed,
            "token_counts": [piece.token_count for piece in pieces],
            "logprob_sums": [piece.logprob_sum for piece in pieces],
        }


@dataclass
class _Server:
    models: ServedModels
    settings: Sampling
    api_key: str | None
    turn: asyncio.Lock  # held while an answer is drawn, by whoever's turn it is

    def guarded(self, endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def checked(request: Request) -> Response:
            shown = request.headers.get("authorization", "").removeprefix("Bearer ")
            if self.api_key and not hmac.compare_digest(shown.encode(), self.api_key.encode()):
                raise ApiError(401, "the API key is missing or wrong; send it as a bearer token", "invalid_api_key")
            return await endpoint(request)

        return checked

    async def list_models(self, _: Request) -> Response:
        listed = await run_sync(self.models.listed)
        return JSONResponse({"object": "list", "data": [_described(name, version) for name, version in listed]})

    async def show_model(self, request: Request) -> Response:
        name = request.path_params["name"]
        return JSONResponse(_described(name, await self._find(name)))

    async def chat(self, request: Request) -> Response:
        asked = await self._understood(parse(await _body(request)))
        if asked.request.stream:
            chunks = self._streamed(asked)
            first = await anext(chunks)  # what is refused is refused with a status, not in the stream
            return _Stream(_events(first, chunks), media_type="text/event-stream")
        return await self._at_once(asked, request)

    async def _at_once(self, asked: _Asked, request: Request) -> Response:
        choices, last = [], []
        async with self.turn:
            lm, asked, prompt_tokens = await self._ready(asked)
            for index in range(asked.request.n):
                text = ""
                async for piece in _drawn(lm, asked, index):
                    if await request.is_disconnected():
                        return Response(status_code=499)  # nobody reads it
                    text += piece.text
                message = {"role": "assistant", "content": text, "refusal": None}
                choices.append({"message": message, "finish_reason": piece.finish_reason})
                last.append(piece)
        counted = usage(prompt_tokens, sum(piece.token_count for piece in last))
        return JSONResponse(completion(asked.version.name, choices, counted, asked.note(last)))

    async def _streamed(self, asked: _Asked) -> AsyncGenerator[dict[str, Any]]:
        chunks = Chunks(asked.version.name)
        async with self.turn:
            lm, asked, prompt_tokens = await self._ready(asked)
            tokens = 0
            for index in range(asked.request.n):
                yield chunks.delta(index, {"role": "assistant", "content": ""})
                async for piece in _drawn(lm, asked, index):
                    if piece.text:
                        yield chunks.delta(index, {"content": piece.text})
                tokens += piece.token_count
                yield chunks.delta(index, {}, piece.finish_reason)
        if asked.request.stream_options and asked.request.stream_options.include_usage:
            yield chunks.usage(usage(prompt_tokens, tokens))

    async def _understood(self, request: ChatRequest) -> _Asked:
        said: dict[str, Any] = {
            "temperature": request.temperature,
            "top_p": request.top_p,
            "top_k": request.top_k,
            "max_new_tokens": request.limit,
        }
        sampling = replace(self.settings, **{name: value for name, value in said.items() if value is not None})
        seed = secrets.randbits(31) if request.seed is None else request.seed
        return _Asked(request, await self._find(request.model), sampling, seed, request.conversation())

    async def _find(self, name: str) -> Version:
        try:
            return await run_sync(self.models.find, name)
        except PrefloopError as error:
            raise ApiError(404, str(error), "model_not_found", "model") from None

    async def _ready(self, asked: _Asked) -> tuple[LanguageModel, _Asked, int]:
        """The model as that version, the request with a limit that fits its window, and the length of the prompt."""
        try:
            lm = await run_sync(self.models.choose, asked.version)
        except PrefloopError as error:
            raise ApiError(500, str(error)) from None
        try:
            prompt = len(lm.prompt_ids(asked.messages))
        except TemplateError as error:
            raise ApiError(
                400, f"the model's chat template refuses the conversation: {error}", None, "messages"
            ) from None
        room, wanted = window_of(lm) - prompt, asked.sampling.max_new_tokens
        if room < (wanted if asked.request.limit else 1):
            raise ApiError(
                400,
                f"the conversation has {prompt} tokens and the model's window {window_of(lm)}: there is no room for "
                f"{wanted} more: shorten it, or lower max_tokens",
                "context_length_exceeded",
                "messages",
            )
        return lm, replace(asked, sampling=replace(asked.sampling, max_new_tokens=min(room, wanted))), prompt


class _Stream(StreamingResponse):
    """Ends its answer when it ends, however it ends: another one waits for its turn."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.body_iterator.aclose()  # type: ignore[attr-defined]  # the generator below


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise ApiError(413, f"the request is longer than {MAX_BODY:,} bytes; shorten the conversation")
    return body


async def _drawn(lm: LanguageModel, asked: _Asked, index: int) -> AsyncIterator[Piece]:
    """Each token in a thread, so that the server hears others meanwhile; whoever is cancelled waits for one token."""
    pieces = speak(lm, asked.messages, asked.sampling, asked.seed, asked.request.stop, index)
    while (piece := await run_sync(next, pieces, None)) is not None:
        yield piece


async def _events(first: dict[str, Any], rest: AsyncGenerator[dict[str, Any]]) -> AsyncIterator[str]:
    async with aclosing(rest):
        yield _event(first)
        try:
            async for chunk in rest:
                yield _event(chunk)
        except Exception:  # the status is sent already
            _log.exception("an answer broke off")
            yield _event(ApiError(500, "the answer broke off; the server's log says why").body)
    yield "data: [DONE]\n\n"


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def _described(name: str, version: Version) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": int(version.created_at.timestamp()),
        "owned_by": "prefloop",
        "prefloop": {
            "version": version.name,
            "base_model": shown_name(version.base_model),
            "stale": version.stale_reason,
        },
    }


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body, status_code=error.status)


async def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = {404: f"there is no {request.url.path}", 405: f"{request.url.path} takes no {request.method}"}
    status = error.status_code if error.status_code in known else 400
    return JSONResponse(ApiError(status, known.get(status, error.detail)).body, status_code=status)


async def _fail(_: Request, error: Exception) -> Response:
    return JSONResponse(ApiError(500, f"{type(error).__name__}; the server's log says more").body, status_code=500)
