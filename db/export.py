"""Judgments as a file: one JSON object a line, or a table for a spreadsheet."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from . import browse, judgments, queues
from .judgments import JudgmentRow
from .tables import Judgment

Format = Literal["jsonl", "csv"]

_LOT = 500  # judgments whose texts are held at a time
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with what a spreadsheet would begin to calculate


def lines(session: Session, judgment_ids: Sequence[int], format: Format, pseudonyms: bool = True) -> Iterator[str]:
    """The file, a line or a row at a time, in the order of the ids.

    With `pseudonyms` an annotator is named by number only, the same in every file of this store; what they wrote
    themselves is left as it is. In a csv a cell that a spreadsheet would take for a formula gets a leading apostrophe.
    """
    queue_of = {queue.id: queue.name for queue in queues.list_queues(session)}
    header = format == "csv"
    for start in range(0, len(judgment_ids), _LOT):
        lot = judgment_ids[start : start + _LOT]
        rows = judgments.by_ids(session, lot)
        why = dict(session.execute(select(Judgment.id, Judgment.rationale).where(Judgment.id.in_(lot))).tuples().all())
        version_of = browse.written_by(session, sorted({id_ for row in rows for id_ in row.candidate_ids}))
        for row in rows:
            said = _said(row, queue_of[row.queue_id], version_of, why[row.judgment_id], pseudonyms)
            if header:
                yield _csv_line(list(said))
                header = False
            yield _csv_line([_cell(value) for value in said.values()]) if format == "csv" else _json_line(said)


def _said(row: JudgmentRow, queue: str, version_of: dict[int, str], rationale: str, pseudonyms: bool) -> dict[str, Any]:
    shown = row.display_order
    number = {candidate_id: place for place, candidate_id in enumerate(shown, 1)}
    return {
        "judgment_id": row.judgment_id,
        "created_at": row.created_at.isoformat(),
        "annotator": f"annotator-{row.annotator_id}" if pseudonyms else row.annotator_name,
        "annotator_kind": row.annotator_kind,
        "queue": queue,
        "kind": row.queue_kind,
        "purpose": row.purpose,
        "round": row.round_number,
        "comparison_id": row.comparison_id,
        "prompt_sha256": row.prompt_sha256,
        "split": row.split,
        "messages": row.messages,
        "answers": [row.texts[candidate_id] for candidate_id in shown],  # as shown, left to right
        "versions": [version_of[candidate_id] for candidate_id in shown],
        "choice": row.choice,
        "preferred": None if row.preferred_id is None else number[row.preferred_id],  # 1 is the first of `answers`
        "ranking": row.ranking and [[number[candidate_id] for candidate_id in group] for group in row.ranking],
        "strength": row.strength,
        "ratings": row.ratings,
        "written": row.written,
        "reason": row.reason,
        "rationale": rationale,
        "response_ms": row.response_ms,
    }


def _json_line(said: dict[str, Any]) -> str:
    return json.dumps(said, ensure_ascii=False) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "'" + text if text.startswith(_FORMULA) else text


def _csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
