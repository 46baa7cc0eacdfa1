"""Quality: how far annotators agree with each other, with themselves, and with what is known."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple, get_args

import numpy as np
from sqlalchemy import Engine

from db import annotators, votes
from db.votes import Checked, CountedVote, Sides
from db.words import AnnotatorKind, QueueKind
from labeling_ui.office import looking
from pipeline.stats import agreement
from pipeline.stats.agreement import Estimate, Ints, Votes


@dataclass(frozen=True, slots=True)
class AgreementLine:
    """Agreement about one thing that is judged: all queues of a kind, a queue, or an aspect of one."""

    about: str
    kind: QueueKind
    whole_kind: bool  # all queues of the kind together
    alpha: Estimate | None
    plain: Estimate | None


@dataclass(frozen=True, slots=True)
class AnnotatorLine:
    name: str
    judged: int  # ordinary comparisons, not skipped or flagged
    with_others: Estimate | None
    repeats: Estimate | None
    gold: Estimate | None
    left: Estimate | None
    longer: Estimate | None


@dataclass(frozen=True, slots=True)
class Quality:
    judged: int  # ordinary comparisons, by all
    shared: int  # comparisons that at least two judged
    lines: list[AgreementLine]
    annotators: list[AnnotatorLine]
    repeats: Estimate | None
    gold: Estimate | None
    left: Estimate | None
    longer: Estimate | None


class Subject(NamedTuple):
    """What votes are about together: a queue, or an aspect of one."""

    queue: str
    kind: QueueKind
    aspect: str | None = None

    @property
    def about(self) -> str:
        return self.queue if self.aspect is None else f"{self.queue}: {self.aspect}"


@dataclass(frozen=True, slots=True)
class Polled:
    """Votes, and which of the subjects each is about."""

    votes: Votes
    subject_V: Ints
    subjects: list[Subject]  # in the order in which they were first judged

    def about(self, *subjects: Subject) -> Votes:
        return self.votes.where(np.isin(self.subject_V, [self.subjects.index(subject) for subject in subjects]))


def quality(engine: Engine, person_id: int, kind: AnnotatorKind) -> Quality:
    """The quality of what annotators of this kind said, of nobody withdrawn."""
    with looking(engine, person_id) as session:
        counted = votes.counted(session, kind)
        sides = votes.sides(session, kind)
        gold = votes.gold_hits(session, kind)
        repeats = votes.repeats_agreed(session, kind)
        name_of = {each.id: each.name for each in annotators.list_annotators(session)}
    judged = Counter(vote.annotator_id for vote in counted)
    judges = Counter(vote.comparison_id for vote in counted)  # an annotator counts once: they are asked once
    said = polled(counted)
    with_others = agreement.agreement_with_others(said.votes)
    known = set(judged) | {each.annotator_id for each in sides} | {each.annotator_id for each in (*gold, *repeats)}
    return Quality(
        judged=len(counted),
        shared=sum(count > 1 for count in judges.values()),
        lines=lines(said),
        annotators=[
            AnnotatorLine(
                name=name_of[id_],
                judged=judged[id_],
                with_others=with_others.get(id_),
                repeats=_hits(each for each in repeats if each.annotator_id == id_),
                gold=_hits(each for each in gold if each.annotator_id == id_),
                left=_left([each for each in sides if each.annotator_id == id_]),
                longer=_longer([each for each in sides if each.annotator_id == id_]),
            )
            for id_ in sorted(known, key=lambda id_: name_of[id_])
        ],
        repeats=_hits(repeats),
        gold=_hits(gold),
        left=_left(sides),
        longer=_longer(sides),
    )


def lines(said: Polled) -> list[AgreementLine]:
    """A line a kind, then one a queue where a kind has several. Ratings are a line an aspect: their scales differ."""
    found: list[AgreementLine] = []
    for kind in get_args(QueueKind):
        of_kind = [subject for subject in said.subjects if subject.kind == kind]
        if kind != "rating" and len(of_kind) > 1:
            found.append(_line(f"all of kind {kind}", kind, said.about(*of_kind), True))
        found += [_line(subject.about, kind, said.about(subject)) for subject in of_kind]
    return found


def _line(about: str, kind: QueueKind, said: Votes, whole_kind: bool = False) -> AgreementLine:
    alpha = agreement.krippendorff_alpha(said, "ordinal" if kind == "rating" else "nominal")
    return AgreementLine(about, kind, whole_kind, alpha, agreement.plain_agreement(said))


def polled(counted: Sequence[CountedVote]) -> Polled:
    """What was said as votes on the candidates. A ranking is a vote on every two of them, ratings one an aspect."""
    ranked = {each.comparison_id: each.ranking for each in counted if each.ranking}
    place: dict[Subject, int] = {}
    comparisons: list[int] = []
    people: list[int] = []
    values: list[str | int] = []
    parts: list[Hashable] = []
    subjects: list[int] = []
    for each in counted:
        for part, value in _values(each, ranked.get(each.comparison_id)):
            comparisons.append(each.comparison_id)
            people.append(each.annotator_id)
            values.append(value)
            parts.append(part)
            subject = Subject(each.queue, each.kind, str(part) if each.kind == "rating" else None)
            subjects.append(place.setdefault(subject, len(place)))
    said = agreement.tabled(comparisons, people, values, parts)
    return Polled(said, np.array(subjects, np.int64), list(place))


def _values(vote: CountedVote, ranked_by_others: list[list[int]] | None) -> Iterable[tuple[Hashable, str | int]]:
    """What the vote says about each part of the question; one that is no ranking says the same of every part."""
    if vote.ratings is not None:
        return vote.ratings.items()
    if vote.ranking is not None:
        return _pairs(vote.ranking).items()
    said = vote.choice if vote.preferred is None else f"candidate {vote.preferred}"
    return [(part, said) for part in (_pairs(ranked_by_others) if ranked_by_others else ["the choice"])]


def _pairs(ranking: list[list[int]]) -> dict[Hashable, str]:
    """Which of every two candidates is ranked higher, by their ids."""
    place = {candidate: number for number, group in enumerate(ranking) for candidate in group}
    return {
        (one, other): "tied" if place[one] == place[other] else "first" if place[one] < place[other] else "second"
        for one, other in combinations(sorted(place), 2)
    }


def _hits(checked: Iterable[Checked]) -> Estimate | None:
    found = list(checked)
    return agreement.proportion(sum(each.hits for each in found), sum(each.asked for each in found))


def _left(sides: Sequence[Sides]) -> Estimate | None:
    return agreement.proportion(sum(each.left for each in sides), sum(each.decided for each in sides))


def _longer(sides: Sequence[Sides]) -> Estimate | None:
    return agreement.proportion(sum(each.longer for each in sides), sum(each.lengths_differ for each in sides))
