"""The shapes of OpenAI's chat API, as far as `prefloop serve` keeps to it. What it does not do it refuses by name.

Beside OpenAI's fields a request takes `top_k`, and an answer has `prefloop`: which version spoke, with which settings
and seed, so that it can be repeated and recorded.
"""

from __future__ import annotations

import time
import uuid
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .language_model import Message


class ApiError(Exception):
    """Answered in OpenAI's shape: a status, a message with the remedy, and where there is one a code and a field."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": _TYPES[status], "param": param, "code": code}}


_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    500: "server_error",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextPart(_Strict):
    type: Literal["text"]
    text: str


class Turn(_Strict):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    def message(self) -> Message:
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class StreamOptions(_Strict):
    include_usage: bool = False


class ChatRequest(_Strict):
    """A request for completions. None means the server's own setting."""

    model: str
    messages: list[Turn] = Field(min_length=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: list[str] = Field([], max_length=4)
    n: int = Field(1, ge=1, le=8)
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str | None = None
    # Taken only where they ask for nothing: some clients always send them.
    frequency_penalty: Literal[0, None] = None
    presence_penalty: Literal[0, None] = None
    logprobs: Literal[False, None] = None

    @field_validator("stop", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [] if value is None else [value] if isinstance(value, str) else value

    @field_validator("stop")
    @classmethod
    def _not_empty(cls, value: list[str]) -> list[str]:
        if "" in value:
            raise ValueError("an empty stop sequence would end every answer at once")
        return value

    @field_validator("n", "stream", mode="before")
    @classmethod
    def _said_or_default(cls, value: Any, info: Any) -> Any:
        return cls.model_fields[info.field_name].default if value is None else value

    @model_validator(mode="after")
    def _ends_with_user(self) -> ChatRequest:
        if self.messages[-1].role != "user":
            raise ValueError(f"the conversation ends in a turn of {self.messages[-1].role}; end it with one of user")
        return self

    @property
    def limit(self) -> int | None:
        """Tokens of an answer; None where the request does not say."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    def conversation(self) -> list[Message]:
        return [turn.message() for turn in self.messages]


def parse(body: bytes) -> ChatRequest:
    """The request; ApiError names the first field that is wrong."""
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or None
        if first["type"] == "extra_forbidden":
            raise ApiError(400, f"{where} is not supported; leave it out", "unsupported_parameter", where) from None
        raise ApiError(400, f"{where or 'request'}: {first['msg']}", "invalid_value", where) from None


def completion(
    model: str, choices: list[dict[str, Any]], usage: dict[str, int], note: dict[str, Any]
) -> dict[str, Any]:
    """The answer to a plain request; each of `choices` has `message` and `finish_reason`."""
    listed = [{"index": index, "logprobs": None, **choice} for index, choice in enumerate(choices)]
    return {**_head("chat.completion", model), "choices": listed, "usage": usage, "prefloop": note}


class Chunks:
    """The events of one streamed answer: they share their id."""

    def __init__(self, model: str) -> None:
        self.head = _head("chat.completion.chunk", model)

    def delta(self, index: int, delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**self.head, "choices": [choice]}

    def usage(self, usage: dict[str, int]) -> dict[str, Any]:
        return {**self.head, "choices": [], "usage": usage}


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def _head(kind: str, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}
