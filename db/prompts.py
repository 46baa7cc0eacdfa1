"""Prompts: imported once each, and split by content into `train` and `heldout`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Text, cast, func, select
from sqlalchemy.orm import Session

from . import audit, clock
from .columns import Message
from .errors import StoreError
from .hashing import canonical_json, sha256_text
from .tables import Prompt
from .upsert import upsert
from .words import Split

HELDOUT_SHARE = 0.25  # of prompts, by content hash


@dataclass(frozen=True, slots=True)
class PromptItem:
    """A prompt to import: messages as {"role", "content"}, ending in a user turn."""

    messages: Sequence[Message]
    category: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Added:
    """The row of a prompt; `created` is False when it was there already."""

    id: int
    created: bool


@dataclass(frozen=True, slots=True)
class AddedMany:
    """How many prompts of a batch are new; the rest repeat the store or the batch itself."""

    added: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class Found:
    """A page of prompts, newest first, of `total` that fit."""

    rows: list[Prompt]
    total: int


def split_of(sha256: str, heldout_share: float) -> Split:
    """The split of a prompt, decided by its content alone: the same on every machine and in every import order.

    `heldout_share` is a share of all prompts, 0 to 1.
    """
    return "heldout" if int(sha256[:8], 16) / 2**32 < heldout_share else "train"


def add(
    session: Session,
    messages: Sequence[Message],
    category: str = "",
    source: str = "",
    heldout_share: float = HELDOUT_SHARE,
    actor: str = audit.SYSTEM,
) -> Added:
    """Import one prompt; the one that is there already is left as it is. StoreError for malformed messages."""
    values = _values(PromptItem(messages, category, source), heldout_share)
    created = _insert(session, [values])
    prompt_id = session.scalars(select(Prompt.id).where(Prompt.sha256 == values["sha256"])).one()
    if created:
        audit.record(session, actor, "import", "prompt", prompt_id, {"added": 1, "duplicates": 0})
    return Added(prompt_id, bool(created))


def add_many(
    session: Session,
    items: Sequence[PromptItem],
    heldout_share: float = HELDOUT_SHARE,
    actor: str = audit.SYSTEM,
) -> AddedMany:
    """Import a batch, all or nothing. StoreError names the first malformed item by its position, counted from 1."""
    by_content: dict[str, dict[str, Any]] = {}
    for position, item in enumerate(items, start=1):
        try:
            values = _values(item, heldout_share)
        except StoreError as error:
            raise StoreError(f"prompt {position} of {len(items)}: {error}") from None
        by_content.setdefault(values["sha256"], values)
    added = _insert(session, list(by_content.values()))
    result = AddedMany(added, len(items) - added)
    audit.record(session, actor, "import", "prompt", None, {"added": added, "duplicates": result.duplicates})
    return result


def get(session: Session, prompt_id: int) -> Prompt:
    """The prompt; StoreError when there is none."""
    prompt = session.get(Prompt, prompt_id)
    if prompt is None:
        raise StoreError(f"there is no prompt {prompt_id}; see the list of prompts")
    return prompt


def list_prompts(
    session: Session, split: Split | None = None, category: str | None = None, include_retired: bool = False
) -> list[Prompt]:
    """Prompts in the order of their content hash: the same in every store that holds the same prompts."""
    query = select(Prompt).order_by(Prompt.sha256)
    if split is not None:
        query = query.where(Prompt.split == split)
    if category is not None:
        query = query.where(Prompt.category == category)
    if not include_retired:
        query = query.where(Prompt.retired_at.is_(None))
    return list(session.scalars(query))


def search(
    session: Session,
    text: str = "",
    split: Split | None = None,
    category: str | None = None,
    retired: bool = False,
    offset: int = 0,
    limit: int = 50,
) -> Found:
    """A page of the prompts that are in use, or of those that are retired; `text` is looked for as in `mentions`."""
    conditions: list[ColumnElement[bool]] = [Prompt.retired_at.is_not(None) if retired else Prompt.retired_at.is_(None)]
    if text.strip():
        conditions.append(mentions(text.strip()))
    if split is not None:
        conditions.append(Prompt.split == split)
    if category is not None:
        conditions.append(Prompt.category == category)
    total = session.scalars(select(func.count()).select_from(Prompt).where(*conditions)).one()
    query = select(Prompt).where(*conditions).order_by(Prompt.id.desc()).offset(offset).limit(limit)
    return Found(list(session.scalars(query)), total)


def mentions(text: str) -> ColumnElement[bool]:
    """Whether one of the prompt's messages contains the text; upper and lower case are the same, at least in ASCII."""
    said: ColumnElement[str] = cast(Prompt.messages, Text)
    for scaffold in ('"content": ', *(f'"role": "{role}"' for role in ("system", "user", "assistant"))):
        said = func.replace(said, scaffold, "")
    return said.icontains(json.dumps(text)[1:-1], autoescape=True)  # as the store's JSON spells it


def categories(session: Session) -> list[str]:
    """Every category that a prompt has, by name."""
    return list(session.scalars(select(Prompt.category).distinct().order_by(Prompt.category)))


def count_by_split(session: Session) -> dict[Split, int]:
    """How many prompts are in use, by split; both splits are always named."""
    query = select(Prompt.split, func.count()).where(Prompt.retired_at.is_(None)).group_by(Prompt.split)
    counted: dict[Split, int] = {"train": 0, "heldout": 0}
    counted.update({split: count for split, count in session.execute(query)})
    return counted


def retire(session: Session, prompt_id: int, actor: str = audit.SYSTEM) -> Prompt:
    """Take a prompt out of use: it is neither generated for nor asked about; what was said about it stays."""
    prompt = get(session, prompt_id)
    if prompt.retired_at is None:
        prompt.retired_at = clock.now()
        audit.record(session, actor, "retire", "prompt", prompt.id)
    return prompt


def unretire(session: Session, prompt_id: int, actor: str = audit.SYSTEM) -> Prompt:
    """Bring a retired prompt back into use. Its split is what it was."""
    prompt = get(session, prompt_id)
    if prompt.retired_at is not None:
        prompt.retired_at = None
        audit.record(session, actor, "unretire", "prompt", prompt.id)
    return prompt


def _insert(session: Session, rows: list[dict[str, Any]]) -> int:
    """How many of `rows` are new."""
    if not rows:
        return 0
    statement = upsert(session, Prompt).on_conflict_do_nothing(index_elements=["sha256"]).returning(Prompt.id)
    return len(session.scalars(statement, rows).all())


def _values(item: PromptItem, heldout_share: float) -> dict[str, Any]:
    messages = [_checked(message) for message in item.messages]
    if not messages or messages[-1]["role"] != "user":
        last = messages[-1]["role"] if messages else "nothing"
        raise StoreError(f"a prompt ends in a user turn, this one in {last}; end it with a message of role 'user'")
    sha256 = sha256_text(canonical_json(messages))
    return {
        "sha256": sha256,
        "messages": messages,
        "category": item.category,
        "source": item.source,
        "split": split_of(sha256, heldout_share),
    }


def _checked(message: Message) -> Message:
    """The message, if it has a role and a content that are text and nothing else: other keys would be lost.

    A lone surrogate, which no page can show, becomes U+FFFD.
    """
    if set(message) != {"role", "content"} or not all(isinstance(text, str) for text in message.values()):
        raise StoreError(f"a message is {{'role': text, 'content': text}}, this one is {message!r}; write it so")
    return {key: text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for key, text in message.items()}
