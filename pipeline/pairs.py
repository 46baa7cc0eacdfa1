"""LABEL → rows: judgments become training pairs, by a policy that is written down and stored with the snapshot.

The policy, in the order in which it is applied:

1. Only prompts of the train split. A held-out prompt never reaches training, whoever judged it.
2. A prompt that anybody flagged, for whatever reason, gives nothing until the flag is corrected: `flagged` counts what
   others said about it.
3. `skip` and `flag` say nothing about the answers and are left out.
4. `tie`, `both_bad` and `identical` give no pair: DPO and a Bradley-Terry reward model learn from decided pairs. Nor do
   `up`, `down` and `rated`, which are about one answer alone. They are counted.
5. An edit gives the pair of what was written (chosen, and ended properly) and the answer that it improves (rejected).
   A demonstration has nothing to be better than: it is counted as `demonstration`.
6. A ranking gives a pair for every two candidates in different groups; members of one group are tied.
7. Judgments of one pair of candidates are votes, equal ones, whatever their strength. The side with more votes is
   chosen; an even split is a conflict and gives no pair. So a pair appears once, however often it was judged (`repeat`
   and overlap included). The votes of either side and the mean strength of those for the chosen one stay with the pair:
   the reward model asks for a wider margin where they are clear (`train_reward.margin`); nothing else reads them.
8. Texts that are equal after cutting to the training length teach nothing: they are left out, and counted as
   `same_text`.
9. Pairs whose two texts (and prompt) repeat another pair's are left out: the first stands, opposed ones are a conflict.

Rows are ordered by content, so that the same judgments give the same bytes on every machine.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any, Literal, TypeVar

from db.hashing import canonical_json, sha256_text
from db.judgments import JudgmentRow
from db.words import Purpose

from .errors import PrefloopError

Shape = Literal["pairs", "demonstrations", "thumbs"]


@dataclass(frozen=True)
class RowPolicy:
    """What a snapshot was made of. Stored with it, so that it can be rebuilt."""

    shape: Shape = "pairs"  # of its rows: PreferenceRow, DemonstrationRow or ThumbRow
    annotators: Literal["human", "simulated"] = "human"
    purposes: tuple[Purpose, ...] = ("train", "repeat")
    rounds: tuple[int, ...] | None = None  # ids of rounds; None: all
    max_characters: int = 4_000  # of a completion, before two are called the same

    def __post_init__(self) -> None:
        if "evaluate" in self.purposes:
            raise PrefloopError(
                f"purposes {', '.join(self.purposes)}: what people say to compare versions is never trained on; leave "
                "out evaluate"
            )

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "purposes": list(self.purposes), "rounds": list(self.rounds) if self.rounds else None}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RowPolicy:
        rounds = values["rounds"]
        return cls(**{**values, "purposes": tuple(values["purposes"]), "rounds": tuple(rounds) if rounds else None})


@dataclass(frozen=True)
class PreferenceRow:
    """One training pair: `chosen` was preferred to `rejected` as the answer to `messages`.

    `*_ended` says whether the model ended the completion itself. One that was cut off at its length limit gets no
    end-of-turn token in training: appending one would teach the model to stop in the middle of a sentence.
    `strength` is the mean of what those who voted for the chosen text said (1 slight, 2 clear, 3 strong); None if
    nobody was asked.
    """

    prompt_sha256: str
    messages: tuple[dict[str, str], ...]
    chosen: str
    rejected: str
    chosen_ended: bool
    rejected_ended: bool
    votes_chosen: int = 1
    votes_rejected: int = 0
    strength: float | None = None


@dataclass(frozen=True)
class SharedPair:
    """Two candidates between which at least two annotators decided, even splits included: the human ceiling's row.

    `for_first` has one vote of each annotator, the earliest: whether they preferred the first text.
    """

    prompt_sha256: str
    messages: tuple[dict[str, str], ...]
    first: str
    second: str
    first_ended: bool
    second_ended: bool
    for_first: tuple[bool, ...]


@dataclass(frozen=True)
class Pairs:
    rows: list[PreferenceRow]
    judgment_ids: list[int]  # that were looked at, ascending
    counts: dict[str, int] = field(default_factory=dict)  # what became of them

    def content(self) -> str:
        """One canonical JSON object a line."""
        return "".join(canonical_json(asdict(row)) + "\n" for row in self.rows)

    @property
    def sha256(self) -> str:
        return sha256_text(self.content())


@dataclass
class _Vote:
    row: JudgmentRow
    better: int  # candidate ids
    worse: int


def build(judgments: Sequence[JudgmentRow], policy: RowPolicy) -> Pairs:
    """Training pairs from judgments (newest of each chain), by the policy in this module's docstring."""
    counts: Counter[str] = Counter(judgments=len(judgments))
    flagged = {row.prompt_id for row in judgments if row.choice == "flag"}
    votes: dict[tuple[int, int], list[_Vote]] = defaultdict(list)
    made: list[PreferenceRow] = []
    for row in sorted(judgments, key=lambda row: row.judgment_id):
        outcome = _outcome(row, flagged)
        counts[outcome] += 1
        if outcome == "written":
            made.append(_edited(row, policy.max_characters))
        elif outcome == "decided":
            for better, worse in _decisions(row):
                votes[min(better, worse), max(better, worse)].append(_Vote(row, better, worse))
    for pair_votes in votes.values():
        counted = Counter(vote.better for vote in pair_votes)
        (better, most), *others = counted.most_common()
        fewest = others[0][1] if others else 0
        if most == fewest:
            counts["conflict"] += 1
            continue
        votes_for = [vote for vote in pair_votes if vote.better == better]
        made.append(_row(votes_for, fewest, policy.max_characters))
    rows = sorted(_different(made, counts), key=lambda row: canonical_json(asdict(row)))
    counts["pairs"] = len(rows)
    return Pairs(rows, sorted(row.judgment_id for row in judgments), dict(sorted(counts.items())))


def shared_pairs(judgments: Sequence[JudgmentRow], policy: RowPolicy) -> list[SharedPair]:
    """The pairs between whose candidates at least two annotators decided, by the same policy; ordered by content."""
    flagged = {row.prompt_id for row in judgments if row.choice == "flag"}
    votes: dict[tuple[int, int], dict[int, _Vote]] = defaultdict(dict)
    for row in sorted(judgments, key=lambda row: row.judgment_id):
        if _outcome(row, flagged) == "decided":
            for better, worse in _decisions(row):
                of_pair = votes[min(better, worse), max(better, worse)]
                of_pair.setdefault(row.annotator_id, _Vote(row, better, worse))
    found = []
    for (first, second), by_annotator in votes.items():
        row = next(iter(by_annotator.values())).row
        sides = _side(row, first, policy.max_characters), _side(row, second, policy.max_characters)
        if len(by_annotator) > 1 and sides[0][0] != sides[1][0]:
            found.append(
                SharedPair(
                    prompt_sha256=row.prompt_sha256,
                    messages=tuple(row.messages),
                    first=sides[0][0],
                    second=sides[1][0],
                    first_ended=sides[0][1],
                    second_ended=sides[1][1],
                    for_first=tuple(vote.better == first for _, vote in sorted(by_annotator.items())),
                )
            )
    return sorted(found, key=lambda pair: canonical_json(asdict(pair)))


def _outcome(row: JudgmentRow, flagged: Set[int]) -> str:
    """What becomes of a judgment; `decided` and `written` give pairs, anything else is counted only."""
    if row.split != "train":
        return "heldout"
    if row.choice == "flag":
        return "flag"
    if row.prompt_id in flagged:
        return "flagged"
    if row.choice in ("left", "right", "ranked"):
        return "decided"
    if row.choice == "written" and not row.candidate_ids:
        return "demonstration"
    return row.choice


def _different(made: Sequence[PreferenceRow], counts: Counter[str]) -> list[PreferenceRow]:
    """The rows whose content no other repeats or contradicts; what is left out is counted."""
    by_content: dict[tuple[str, str, str], PreferenceRow] = {}
    conflicted: set[tuple[str, str, str]] = set()
    for row in made:
        key = row.prompt_sha256, row.chosen, row.rejected
        opposite = row.prompt_sha256, row.rejected, row.chosen
        if row.chosen == row.rejected:
            counts["same_text"] += 1
        elif key in conflicted or opposite in conflicted:
            counts["conflict"] += 1
        elif opposite in by_content:
            del by_content[opposite]
            conflicted.add(key)
            counts["conflict"] += 2
        elif key in by_content:
            counts["duplicate"] += 1
        else:
            by_content[key] = row
    return list(by_content.values())


def _decisions(row: JudgmentRow) -> list[tuple[int, int]]:
    """(better, worse) candidate ids that a decided judgment implies."""
    if row.ranking is not None:
        return [(b, w) for high, low in combinations(row.ranking, 2) for b in high for w in low]
    assert row.preferred_id is not None
    return [(row.preferred_id, other) for other in row.candidate_ids if other != row.preferred_id]


def _edited(row: JudgmentRow, limit: int) -> PreferenceRow:
    """What the annotator wrote, preferred to the answer that they were shown."""
    assert row.written is not None
    (shown,) = row.candidate_ids
    rejected, rejected_ended = _side(row, shown, limit)
    return PreferenceRow(
        prompt_sha256=row.prompt_sha256,
        messages=tuple(row.messages),
        chosen=row.written[:limit],
        rejected=rejected,
        chosen_ended=len(row.written) <= limit,
        rejected_ended=rejected_ended,
    )


def _row(votes_for: Sequence[_Vote], votes_against: int, limit: int) -> PreferenceRow:
    vote = votes_for[0]
    chosen, chosen_ended = _side(vote.row, vote.better, limit)
    rejected, rejected_ended = _side(vote.row, vote.worse, limit)
    strengths = [v.row.strength for v in votes_for if v.row.strength is not None]
    return PreferenceRow(
        prompt_sha256=vote.row.prompt_sha256,
        messages=tuple(vote.row.messages),
        chosen=chosen,
        rejected=rejected,
        chosen_ended=chosen_ended,
        rejected_ended=rejected_ended,
        votes_chosen=len(votes_for),
        votes_rejected=votes_against,
        strength=sum(strengths) / len(strengths) if strengths else None,
    )


def _side(row: JudgmentRow, candidate_id: int, limit: int) -> tuple[str, bool]:
    """The text of a candidate as it is trained on, and whether the model ended it itself."""
    text = row.texts[candidate_id]
    return text[:limit], row.finish_reasons[candidate_id] == "stop" and len(text) <= limit


Row = TypeVar("Row", PreferenceRow, SharedPair)


def split_by_prompt(rows: Sequence[Row], share: float, salt: str = "reward") -> tuple[list[Row], list[Row]]:
    """(training rows, held-out rows), no prompt in both. `share` of the prompts is held out, decided by their hash."""

    def held_out(prompt_sha256: str) -> bool:
        return int(sha256_text(f"{salt} {prompt_sha256}")[:8], 16) / 2**32 < share

    return [r for r in rows if not held_out(r.prompt_sha256)], [r for r in rows if held_out(r.prompt_sha256)]
