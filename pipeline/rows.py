"""What the shapes of training rows have in common: frozen rows, and the judgments that no shape takes."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from db.hashing import canonical_json, sha256_text
from db.judgments import JudgmentRow

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = TypeVar("Row", bound="DataclassInstance")


@dataclass(frozen=True)
class Rows(Generic[Row]):
    rows: list[Row]  # ordered by content: the same judgments give the same bytes on every machine
    judgment_ids: list[int]  # that were looked at, ascending
    counts: dict[str, int] = field(default_factory=dict)  # what became of them

    def content(self) -> str:
        """One canonical JSON object a line."""
        return "".join(canonical_json(asdict(row)) + "\n" for row in self.rows)

    @property
    def sha256(self) -> str:
        return sha256_text(self.content())


def by_content(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: canonical_json(asdict(row)))


def flagged_prompts(judgments: Sequence[JudgmentRow]) -> set[int]:
    """Prompts that anybody flagged, for whatever reason: they give nothing until the flag is corrected."""
    return {row.prompt_id for row in judgments if row.choice == "flag"}


def left_out(row: JudgmentRow, flagged: Set[int]) -> str | None:
    """Why no row may be made of the judgment, whatever it says; None when nothing forbids it."""
    if row.split != "train":
        return "heldout"
    if row.choice in ("flag", "skip"):
        return row.choice
    return "flagged" if row.prompt_id in flagged else None
