"""Secrets kept out of what is written down or sent: their values are replaced wherever they turn up."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError
from urllib3.util import parse_url

from .config import Settings

MASK = "***"
_TELLING = re.compile(r"SECRET|TOKEN|PASSW|CREDENTIAL|API_?KEY|PRIVATE_?KEY", re.IGNORECASE)
_WRITTEN = re.compile(r"(?<=://)[^\s/@]+:[^\s/@]+(?=@)|(?<=Bearer )\S+", re.IGNORECASE)  # user:password@host, a header
_SHORTEST = 8  # characters: of a shorter one no text would be left


def redactor(settings: Settings) -> Callable[[str], str]:
    """Replaces secrets of the settings and the environment, known or guessed by name, and what is written like one."""
    named = {settings.notify.secret_variable, settings.judge.api_key_variable, settings.serve.api_key_env} - {""}
    values = [value for name, value in os.environ.items() if name in named or _TELLING.search(name)]
    values += [_password(settings.store_url), *_of_address(settings.notify.url)]
    known = {value for value in values if len(value) >= _SHORTEST}
    known |= {json.dumps(value)[1:-1] for value in known}
    longest_first = sorted(known, key=len, reverse=True)

    def redact(text: str) -> str:
        for value in longest_first:
            text = text.replace(value, MASK)
        return _WRITTEN.sub(MASK, text)

    return redact


def _password(url: str) -> str:
    try:
        return str(make_url(url).password or "") if url else ""
    except ArgumentError:
        return ""


def _of_address(url: str) -> list[str]:
    """With many receivers whoever knows the path may post there."""
    parsed = parse_url(url) if url else None
    return [url, parsed.request_uri] if parsed is not None and parsed.request_uri != "/" else []
