"""Quality: how far annotators agree with each other, with themselves, and with what is known."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import get_args

from sqlalchemy import Engine

from db import annotators, votes
from db.votes import Checked, CountedVote, Sides
from db.words import AnnotatorKind, QueueKind
from labeling_ui.office import looking
from pipeline.stats import agreement
from pipeline.stats.agreement import Estimate, Vote


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


def quality(engine: Engine, person_id: int, kind: AnnotatorKind) -> Quality:
    """The quality of what annotators of this kind said, of nobody withdrawn."""
    with looking(engine, person_id) as session:
        counted = votes.counted(session, kind)
        sides = votes.sides(session, kind)
        gold = votes.gold_hits(session, kind)
        repeats = votes.repeats_agreed(session, kind)
        name_of = {each.id: each.name for each in annotators.list_annotators(session)}
    judged: dict[int, int] = defaultdict(int)
    judges: dict[int, set[int]] = defaultdict(set)
    for vote in counted:
        judged[vote.annotator_id] += 1
        judges[vote.comparison_id].add(vote.annotator_id)
    with_others = agreement.agreement_with_others(_votes(counted))
    known = set(judged) | {each.annotator_id for each in sides} | {each.annotator_id for each in (*gold, *repeats)}
    return Quality(
        judged=len(counted),
        shared=sum(len(who) > 1 for who in judges.values()),
        lines=lines(counted),
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


def lines(counted: Sequence[CountedVote]) -> list[AgreementLine]:
    """A line a kind, then one a queue where a kind has several. Ratings are a line an aspect: their scales differ."""
    by_kind: dict[QueueKind, dict[str, list[CountedVote]]] = defaultdict(lambda: defaultdict(list))
    for vote in counted:
        by_kind[vote.kind][vote.queue].append(vote)
    found: list[AgreementLine] = []
    for kind, by_queue in sorted(by_kind.items(), key=lambda item: get_args(QueueKind).index(item[0])):
        if kind == "rating":
            found += [line for queue, said in by_queue.items() for line in _aspects(queue, said)]
            continue
        if len(by_queue) > 1:
            found.append(
                _line(f"all of kind {kind}", kind, _votes(said for of in by_queue.values() for said in of), True)
            )
        found += [_line(queue, kind, _votes(said)) for queue, said in by_queue.items()]
    return found


def _line(about: str, kind: QueueKind, said: list[Vote], whole_kind: bool = False) -> AgreementLine:
    alpha = agreement.krippendorff_alpha(said, "ordinal" if kind == "rating" else "nominal")
    return AgreementLine(about, kind, whole_kind, alpha, agreement.plain_agreement(said))


def _aspects(queue: str, counted: Sequence[CountedVote]) -> list[AgreementLine]:
    by_aspect: dict[str, list[Vote]] = defaultdict(list)
    for vote in _votes(counted):
        by_aspect[str(vote.part)].append(vote)
    return [_line(f"{queue}: {aspect}", "rating", said) for aspect, said in by_aspect.items()]


def _votes(counted: Iterable[CountedVote]) -> list[Vote]:
    """What was said as votes on the candidates. A ranking is a vote on every two of them, ratings one an aspect."""
    said = list(counted)
    ranked = {each.comparison_id: list(_pairs(each.ranking)) for each in said if each.ranking}
    return [
        Vote(each.comparison_id, each.annotator_id, value, part)
        for each in said
        for part, value in _values(each, ranked.get(each.comparison_id) or ["the choice"])
    ]


def _values(vote: CountedVote, parts: Sequence[Hashable]) -> Iterable[tuple[Hashable, str | int]]:
    """What the vote says about each part of the question."""
    if vote.ratings is not None:
        return vote.ratings.items()
    if vote.ranking is not None:
        return _pairs(vote.ranking).items()
    said = vote.choice if vote.preferred is None else f"candidate {vote.preferred}"
    return [(part, said) for part in parts]


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
