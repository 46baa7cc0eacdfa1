"""Prompts: looking for them, importing a file, and taking single ones out of use."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from db import prompt_files, prompts
from db.prompt_files import BadLine
from db.prompts import Found
from db.words import Split
from labeling_ui.office import PAGE, acting, looking

HELDOUT_SHARE = "PREFLOOP_HELDOUT_SHARE"  # environment: as in prefloop.toml, where the server was started from one


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the lines of a file."""

    name: str
    added: int
    duplicates: int
    bad: list[BadLine]

    @property
    def words(self) -> str:
        return f"{self.name}: {self.added:,} prompts added, {self.duplicates:,} duplicates, {len(self.bad):,} bad lines"


def search(
    engine: Engine, person_id: int, text: str, split: Split | None, category: str | None, retired: bool, page: int
) -> Found:
    """The page of that number, counted from 1."""
    with looking(engine, person_id) as session:
        return prompts.search(session, text, split, category, retired, offset=(page - 1) * PAGE, limit=PAGE)


def categories(engine: Engine, person_id: int) -> list[str]:
    with looking(engine, person_id) as session:
        return prompts.categories(session)


def counts(engine: Engine, person_id: int) -> dict[Split, int]:
    with looking(engine, person_id) as session:
        return prompts.count_by_split(session)


def import_file(engine: Engine, person_id: int, name: str, content: bytes, category: str) -> Imported:
    """Import what can be read of the file; StoreError when it cannot be read as a whole."""
    with looking(engine, person_id):  # nothing is read for one who may not import it
        pass
    found = prompt_files.parse(name, content, category.strip())
    with acting(engine, person_id) as (session, actor):
        share = float(os.environ.get(HELDOUT_SHARE, prompts.HELDOUT_SHARE))
        result = prompts.add_many(session, found.items, heldout_share=share, actor=actor)
    return Imported(name, result.added, result.duplicates, found.bad)


def retire(engine: Engine, person_id: int, prompt_ids: Sequence[int]) -> str:
    with acting(engine, person_id) as (session, actor):
        for prompt_id in prompt_ids:
            prompts.retire(session, prompt_id, actor)
    return f"{_count(prompt_ids)} retired: nobody is asked about it any more. What was said about it stays."


def bring_back(engine: Engine, person_id: int, prompt_ids: Sequence[int]) -> str:
    with acting(engine, person_id) as (session, actor):
        for prompt_id in prompt_ids:
            prompts.unretire(session, prompt_id, actor)
    return f"{_count(prompt_ids)} in use again."


def _count(prompt_ids: Sequence[int]) -> str:
    return "One prompt is" if len(prompt_ids) == 1 else f"{len(prompt_ids):,} prompts are"
