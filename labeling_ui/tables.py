"""Small tables, marks and bars of the manager pages, as plain HTML: read out by screen readers, narrow on a phone.

Every text goes through `escape`: a name or a rationale is shown as it was typed, and nothing in it is markup.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

import streamlit as st

from labeling_ui.passage import readable

Tone = Literal["good", "warn", "bad", "quiet"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A word with a tone."""

    text: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class Bar:
    """How much of a whole is done and under way, with the words that say the same."""

    text: str
    done: float  # shares of the whole
    under_way: float = 0.0


@dataclass(frozen=True, slots=True)
class Range:
    """A number from `floor` to 1 with its interval, drawn and in words; `mark` is what it is to be held against."""

    text: str
    value: float
    low: float
    high: float
    floor: float = 0.0
    mark: float | None = None


_TURNING = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")  # marks of direction
_LONG_WORD = 20  # characters

Cell = str | Mark | Bar | Range | tuple[Mark, ...] | None


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[Cell]], numbers: Collection[str] = ()) -> None:
    """A table, its first column naming the rows. `heads` are our words; on a phone a row becomes a card."""
    head = "".join(f'<th scope="col" role="columnheader"{_number(name, numbers)}>{escape(name)}</th>' for name in heads)
    body = "".join(
        '<tr role="row">'
        + "".join(
            _cell(name, cell, first=not place, numbers=numbers)
            for place, (name, cell) in enumerate(zip(heads, row, strict=True))
        )
        + "</tr>"
        for row in rows
    )
    st.html(
        f'<table class="office" role="table"><caption>{escape(caption)}</caption>'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead><tbody role="rowgroup">{body}</tbody></table>'
    )


def facts(*named: tuple[str, Cell] | tuple[str, Cell, str]) -> None:
    """A few numbers in a row, each under its name, perhaps with a remark below it."""
    shown = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{content(cell)}</dd>"
        + "".join(f'<dd class="office-remark">{text(remark)}</dd>' for remark in remarks if remark)
        + "</div>"
        for name, cell, *remarks in named
    )
    st.html(f'<dl class="office-facts">{shown}</dl>')


def label(said: str) -> None:
    """A small heading over a text."""
    st.html(f'<p class="office-label">{text(said)}</p>')


def content(cell: Cell) -> str:
    """The HTML of a cell."""
    match cell:
        case None | "":
            return '<span class="office-quiet">–</span>'
        case str():
            return _breakable(cell)
        case Mark(said, tone):
            return f'<span class="office-{tone}">{text(said)}</span>'
        case tuple():
            shown = " ".join(f'<span class="office-one">{content(mark)}</span>' for mark in cell)
            return f"<span>{shown}</span>"
        case Bar(said, done, under_way):
            return (
                f'<span class="office-bar" aria-hidden="true"><i style="width:{_percent(done)}"></i>'
                f'<i class="office-under-way" style="width:{_percent(under_way)}"></i></span>{text(said)}'
            )
        case Range():
            return _range(cell) + text(cell.text)


def text(said: str) -> str:
    """Text of anybody, as HTML that shows it as it is; what would turn the words after it around is a sign instead."""
    return escape(readable(said).translate(_TURNING).encode("utf-8", "replace").decode())


def _breakable(said: str) -> str:
    """Text that may be broken within a word, if one of its words would stretch the column."""
    long = any(len(word) > _LONG_WORD for word in said.split())
    return f'<span class="office-long">{text(said)}</span>' if long else text(said)


def _range(shown: Range) -> str:
    def at(number: float) -> float:
        return (number - shown.floor) / (1 - shown.floor)

    mark = "" if shown.mark is None else f'<u style="left:{_percent(at(shown.mark))}"></u>'
    return (
        f'<span class="office-range" aria-hidden="true">{mark}'
        f'<i style="left:{_percent(at(shown.low))};width:{_percent(at(shown.high) - at(shown.low))}"></i>'
        f'<b style="left:{_percent(at(shown.value))}"></b></span>'
    )


def _cell(name: str, cell: Cell, first: bool, numbers: Collection[str]) -> str:
    tag, role = ('th scope="row"', "rowheader") if first else ("td", "cell")
    return f'<{tag} role="{role}" data-head="{escape(name)}"{_number(name, numbers)}>{content(cell)}</{tag[:2]}>'


def _number(name: str, numbers: Collection[str]) -> str:
    return ' class="office-number"' if name in numbers else ""


def _percent(share: float) -> str:
    return f"{100 * min(1.0, max(0.0, share)):.1f}%"
