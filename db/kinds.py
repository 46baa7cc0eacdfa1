"""The kinds of queue: about how many candidates a question is, and which answers fit it."""

from .words import Choice, QueueKind

# The fewest and the most that a comparison is about.
CANDIDATES: dict[QueueKind, tuple[int, int]] = {
    "pair": (2, 2),
    "ranking": (2, 8),
    "rating": (1, 1),
    "thumbs": (1, 1),
    "edit": (1, 1),
    "demonstration": (0, 0),
}
# Besides `skip` and `flag`, which fit every question. An edit that is `up` needs none; a ranking that is `both_bad`
# has no good candidate at all.
CHOICES: dict[QueueKind, tuple[Choice, ...]] = {
    "pair": ("left", "right", "tie", "both_bad", "identical"),
    "ranking": ("ranked", "both_bad", "identical"),
    "rating": ("rated",),
    "thumbs": ("up", "down"),
    "edit": ("written", "up"),
    "demonstration": ("written",),
}
# Whose questions have an answer that can be known, or be the same again: gold and repeats.
COMPARABLE: tuple[QueueKind, ...] = ("pair", "ranking")
