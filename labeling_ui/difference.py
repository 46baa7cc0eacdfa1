"""What two texts have in common, word by word."""

import re
from difflib import SequenceMatcher

Runs = list[tuple[bool, str]]  # (whether only this text has it, the words); joined they are the text

MOST_WORDS = 2000  # in a text; comparing longer ones can take seconds

_WORD = re.compile(r"(?:\w+|[^\w\s])\s*|\s+")  # with the space behind it


def between(left: str, right: str) -> tuple[Runs, Runs] | None:
    """Each text in runs that the other has as well or has not; None when one is too long to compare."""
    words = _WORD.findall(left), _WORD.findall(right)
    if max(map(len, words)) > MOST_WORDS:
        return None
    only_left: Runs = []
    only_right: Runs = []
    for tag, i, j, k, m in SequenceMatcher(None, *words).get_opcodes():
        for runs, part in ((only_left, words[0][i:j]), (only_right, words[1][k:m])):
            if part:
                runs.append((tag != "equal", "".join(part)))
    return only_left, only_right
