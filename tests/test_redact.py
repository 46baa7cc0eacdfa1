"""Secrets stay out of what is written down, wherever they come from."""

import pytest

from pipeline.config import Settings
from pipeline.redact import MASK, redactor


def test_secrets_are_hidden_wherever_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-abcdefgh")
    monkeypatch.setenv("MINE", "an odd name for it")
    monkeypatch.setenv("SHORT_TOKEN", "yes")  # would hide a word
    settings = Settings(
        store_url="postgresql://loop:pass-of-store@host/db",
        judge={"api_key_variable": "MINE"},
        notify={"url": "https://hooks.example.org/secret-path"},
    )
    said = redactor(settings)(
        "sk-abcdefgh, an odd name for it, pass-of-store, /secret-path, yes; https://ann:word@hub/x "
        "Authorization: Bearer qrst"
    )
    hidden = ", ".join([MASK] * 4)
    assert said == f"{hidden}, yes; https://{MASK}@hub/x Authorization: Bearer {MASK}"
