"""The versions, asked over HTTP from `prefloop serve`: the screens have no model, and no torch, of their own."""

import json
import os
import urllib.error
import urllib.request
from typing import Any

from db.columns import Message
from db.errors import StoreError
from db.playground import Answer

URL = "PREFLOOP_SERVE_URL"  # environment: up to and including /v1
KEY = "PREFLOOP_SERVE_KEY"  # environment: shown to the server, where it asks for one
DEFAULT_URL = "http://127.0.0.1:8000/v1"
CURRENT = "current"
_SECONDS = 120.0  # for an answer: others may be asked before
_LONGEST = 10_000_000  # bytes of an answer
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the server is one's own


def names() -> list[str]:
    """The versions that answer, newest first. StoreError, with the command, when nothing listens."""
    listed = _asked("/models", None, seconds=5)["data"]
    return [model["id"] for model in reversed(listed) if model["id"] != CURRENT]


def answer(version: str, messages: list[Message], temperature: float, max_tokens: int, seed: int) -> Answer:
    """What the version answers. StoreError for what the server refuses."""
    request = {
        "model": version,
        "messages": messages,
        "temperature": temperature,
        "max_tokens": max_tokens,
        "seed": seed,
    }
    said = _asked("/chat/completions", request, _SECONDS)
    try:
        note, (choice,) = said["prefloop"], said["choices"]
        return Answer(
            version=note["version"],
            adapter_sha256=note["adapter_sha256"],
            base_sha256=note["base_sha256"],
            text=choice["message"]["content"],
            token_count=note["token_counts"][0],
            finish_reason=choice["finish_reason"],
            logprob_sum=note["logprob_sums"][0],
            sampling=note["sampling"],
            seed=note["seed"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"what listens at {address()} is not `prefloop serve` ({error!r}); set {URL}") from None


def address() -> str:
    return (os.environ.get(URL) or DEFAULT_URL).rstrip("/")


def _asked(path: str, request: dict[str, Any] | None, seconds: float) -> dict[str, Any]:
    headers = {"content-type": "application/json", "authorization": f"Bearer {os.environ.get(KEY, '')}"}
    body = None if request is None else json.dumps(request).encode()
    if not address().startswith(("http://", "https://")):
        raise StoreError(f"{URL}={address()} is no address; it begins with http:// or https://")
    asking = urllib.request.Request(address() + path, body, headers)
    try:
        with _direct.open(asking, timeout=seconds) as response:
            found = json.loads(response.read(_LONGEST))
    except urllib.error.HTTPError as refusal:
        raise StoreError(f"the model server at {address()} refuses: {_words(refusal)}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise StoreError(
            f"no model server answers at {address()} ({reason}); start `prefloop serve`, or set {URL}"
        ) from None
    if not isinstance(found, dict):
        raise StoreError(f"what listens at {address()} is not `prefloop serve`; set {URL}")
    return found


def _words(refusal: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(refusal.read(_LONGEST))["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"{refusal.code} {refusal.reason}"
