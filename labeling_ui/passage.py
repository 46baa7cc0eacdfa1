"""Text that somebody else wrote, as it is sent to the label page: plain, compared or rendered, long ones in part.

The browser shows all of it as text: nothing in it is run or fetched (see passage.js).
"""

from collections.abc import Sequence

from db.columns import JsonObject
from labeling_ui import difference, rendering
from labeling_ui.messages import ViewMode

LONG = 1700  # characters; two such texts side by side still fit a laptop screen

# What has no picture gets one, and does nothing: an escape sequence, a NUL, an order to show text the other way round.
_PICTURES: dict[int, int | str] = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"},
    0x7F: 0x2421,
    0x202D: "⟦LRO⟧",
    0x202E: "⟦RLO⟧",
}


def passages(texts: Sequence[str], whole: bool, mode: ViewMode = "plain") -> list[JsonObject]:
    """The texts in one way of showing them: `length` says how many characters there are in all when it is a part."""
    parts = [readable(text if whole else opening(text)) for text in texts]
    runs = difference.between(*parts) if mode == "differences" and len(parts) == 2 else None
    shown: list[JsonObject] = []
    for number, (text, part) in enumerate(zip(texts, parts, strict=True)):
        nodes = rendering.tree(part) if mode == "rendered" else None
        shown.append(
            {
                "text": part,
                "length": len(text) if len(text) > LONG else None,
                "whole": whole,
                "runs": runs[number] if runs else None,
                "nodes": nodes,
            }
        )
    return shown


def opening(text: str, length: int = LONG) -> str:
    """The beginning of the text, cut between words where it can be, with an ellipsis; a short text itself."""
    if len(text) <= length:
        return text
    cut = text[:length]
    between = max(cut.rfind(" "), cut.rfind("\n"))
    return cut[: between if between > length // 2 else length].rstrip() + " …"


def readable(text: str) -> str:
    """The text with line ends of one kind and its control characters as pictures."""
    return text.replace("\r\n", "\n").translate(_PICTURES)
